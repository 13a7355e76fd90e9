"""The end of a request whose proxy died: written by the next one, from what the spool holds of it."""

from datetime import datetime
from typing import Final

import msgspec

from contracts.events import Accuracy, Event, Outcome, UsageData
from proxy.envelope import Envelopes
from proxy.spool.header import Header
from proxy.spool.record import Record

COUNTS: Final = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
    "audio_seconds",
)


class _Draft(UsageData, kw_only=True):
    """What an event says of a request that still runs: a draft of its usage, or only that it was admitted."""

    outcome: Outcome = "proxy_lost"
    accuracy: Accuracy = "unknown"


_draft = msgspec.json.Decoder(Event[_Draft])


def lost_event(header: Header, draft: Record, sequence: int, now: datetime) -> bytes:
    """Return the usage event of a request whose proxy died: the last counts known, under the same id and `admitted_at`.

    The draft's body is an event: the request's own, when it was admitted and nothing was counted, or its usage so far.

    Raises msgspec.ValidationError when the draft is none of this version's.
    """
    last = _draft.decode(draft.body).data
    data = UsageData(**{field: getattr(last, field) for field in UsageData.__struct_fields__})
    data.sequence = sequence
    data.outcome = "proxy_lost"
    data.accuracy = "estimated" if any(getattr(data, count) is not None for count in COUNTS) else "unknown"
    return Envelopes(header.producer).usage(data, now)
