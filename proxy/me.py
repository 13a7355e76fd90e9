"""What `GET /weighbridge/v1/me` says: who somebody is, what they are held to and what is left of that. Pure."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from contracts.clock import local_day, rfc3339
from contracts.limits import MICRO, Held
from proxy.ports import DayTotals, Principal, Standing

_encode: Final = msgspec.json.Encoder().encode


def describe(who: Principal, standings: Iterable[Standing], totals: DayTotals | None, now: datetime) -> bytes:
    """Return it as JSON. What is not known is null: a limit that cannot be asked now, figures of the day, cost."""
    key = who.key
    known = {standing.held.name: standing for standing in standings}
    day = local_day(now, who.time_zone)
    return _encode(
        {
            "key": key.id,
            "tenant": key.tenant,
            "team": key.team,
            "user": key.user,
            "tags": who.tags,
            "time_zone": who.time_zone,
            "expires_at": rfc3339(key.expires_at) if key.expires_at is not None else None,
            "models": _models(who),
            "endpoints": key.endpoints,
            "addresses": key.addresses,
            "max_tokens": who.max_tokens,
            "priority": who.priority,
            "limits": [_limit(held, known.get(held.name)) for held in who.limits],
            "usage": {
                "of": "tenant",
                "day": day.isoformat(),
                "requests": totals.requests if totals is not None else None,
                "input_tokens": totals.input_tokens if totals is not None else None,
                "output_tokens": totals.output_tokens if totals is not None else None,
                "cost": None,
            },
            "as_of": rfc3339(now),
        }
    )


def _models(who: Principal) -> list[str] | None:
    """Return the models that key and plans allow; None: all that are served."""
    allowed = who.allowed_models
    return sorted(allowed) if allowed is not None else None


def _limit(held: Held, standing: Standing | None) -> dict[str, object]:
    limit = held.limit
    left = max(0, standing.remaining) if standing is not None else None
    return {
        "id": limit.id,
        "subject": {held.kind: held.subject, "model": limit.model},
        "meter": limit.meter,
        "window": limit.window,
        "amount": _amount(held, limit.amount),
        "used": _amount(held, max(0, limit.amount - left)) if left is not None else None,
        "remaining": _amount(held, left),
        "renews_at": rfc3339(standing.resets_at) if standing is not None else None,
        "precision": limit.precision,
        "mode": limit.mode,
        "when_reached": limit.when_reached,
    }


def _amount(held: Held, amount: int | None) -> int | str | None:
    """Return an amount; of money as a decimal string."""
    if amount is None or held.limit.meter != "cost":
        return amount
    return f"{Decimal(amount) / MICRO:f}"
