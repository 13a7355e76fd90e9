"""Recording acts of admins."""

from collections.abc import Mapping
from typing import Any

from billing_api.audit.models import Action
from billing_api.unit import Unit
from contracts.ids import new_id


def record(unit: Unit, action: str, target: str, details: Mapping[str, Any]) -> None:
    """Note in the same transaction that the caller did `action` to `target`. `details` are JSON and hold no secret."""
    unit.session.add(
        Action(
            id=new_id("act", unit.now_ms),
            at=unit.now,
            actor=unit.actor,
            action=action,
            target=target,
            request_id=unit.request_id,
            details=dict(details),
        )
    )
