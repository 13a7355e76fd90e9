"""Remembers what happens to requests: encodes each record once, straight into the spool. On the request path: no waiting."""

import secrets
from datetime import datetime

import structlog

from contracts.events import RequestData, UsageData
from contracts.prompts import PromptData
from proxy.copies import Copies
from proxy.envelope import Envelopes
from proxy.ports import Refusal
from proxy.spool.record import Kind
from proxy.spool.spool import Spool, SpoolFullError

_log = structlog.get_logger(__name__)
_FULL = Refusal("spool_full", "The proxy cannot record more requests at the moment; try again later.")


def new_epoch() -> str:
    """Return the name of a new start of a process: 128 random bits in hex."""
    return secrets.token_hex(16)


class SpoolRecorder:
    """Implements `proxy.ports.Recorder`.

    With `allow_when_full` requests go on when the spool is full, unrecorded; `unrecorded` counts the records left out.
    """

    def __init__(self, spool: Spool, *, allow_when_full: bool, copies: Copies | None = None) -> None:
        self.producer, self.epoch = spool.producer, spool.epoch
        self.unrecorded = 0
        self._spool = spool
        self._envelopes = Envelopes(spool.producer)
        self._allow_when_full = allow_when_full
        self._copies = copies
        self._prefix = secrets.token_hex(10)  # with the counter: 80 random and 48 counted bits
        self._count = 0

    def full(self) -> Refusal | None:
        """Return why no more requests can be taken, or None."""
        return _FULL if self._spool.full() and not self._allow_when_full else None

    def new_request_id(self) -> str:
        """Return 32 hex characters that no other request ever has."""
        self._count += 1
        return self._prefix + self._count.to_bytes(6, "big").hex()

    def decided(self, data: RequestData, now: datetime) -> None:
        """Record a decision; sets its sequence."""
        data.sequence = self._spool.last_sequence + 1
        kind = Kind.ADMITTED if data.admitted_at is not None else Kind.REQUEST  # `would_deny` may be either
        self._append(kind, data, self._envelopes.request(data, now))

    def progressed(self, request_id: str, draft: UsageData, now: datetime) -> None:
        """Record the counts of a stream so far."""
        self._append(Kind.OPEN, draft, self._envelopes.usage(draft, now))

    def closed(self, data: UsageData, now: datetime) -> None:
        """Record the end of a request; sets its sequence."""
        data.sequence = self._spool.last_sequence + 1
        self._append(Kind.USAGE, data, self._envelopes.usage(data, now))

    def copied(self, data: PromptData, now: datetime) -> None:
        """Have a copy of prompt and answer sent, past the spool: no text is ever on this disk."""
        if self._copies is not None:
            self._copies.add(data, now)

    def _append(self, kind: int, data: RequestData | UsageData, body: bytes) -> None:
        try:
            self._spool.append(kind, data.request_id.encode(), data.tenant.encode(), body)
        except SpoolFullError as error:
            self.unrecorded += 1
            if self.unrecorded % 1000 == 1:
                record = "usage" if isinstance(data, UsageData) else "decision"
                _log.error("unrecorded", record=record, reason=str(error), total=self.unrecorded)
