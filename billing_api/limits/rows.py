"""Making rows of limits, for whoever holds them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_api.limits.models import Limit, place
from billing_api.limits.schemas import PlanLimit, Terms
from billing_api.unit import Unit
from contracts.ids import new_id


def new_row(unit: Unit, kind: str, holder: str, tenant: str | None, terms: Terms) -> Limit:
    """Return a limit that is not stored yet."""
    fields: dict[str, Any] = terms.model_dump(include=set(Terms.model_fields))
    return Limit(
        **fields,
        id=new_id("lim", unit.now_ms),
        kind=kind,
        holder=holder,
        tenant=tenant,
        model=terms.of_model,
        place=place(terms.of_model, terms.meter, terms.window),
        created_at=unit.now,
        updated_at=unit.now,
    )


async def held(session: AsyncSession, holder: str) -> Sequence[Limit]:
    """Return the limits of one holder."""
    return (await session.scalars(select(Limit).filter_by(holder=holder).order_by(Limit.place))).all()


async def inherit(unit: Unit, kind: str, old: str, new: str) -> None:
    """Give a new holder the limits of an old one. Whoever calls stamps the new one."""
    for row in await held(unit.session, old):
        terms = PlanLimit.model_validate({name: getattr(row, name) for name in PlanLimit.model_fields})
        unit.session.add(new_row(unit, kind, new, row.tenant, terms))
