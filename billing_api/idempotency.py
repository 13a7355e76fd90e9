"""`Idempotency-Key`: the answer of a POST is stored with what it did, and given again to whoever repeats it.

A claim is committed before the work starts, so that a second request meanwhile is told to wait (409) rather than queued; the
answer is stored in the transaction of the work itself. A request that failed leaves nothing behind. A claim whose process died
can be taken over after a minute, and the first holder then cannot commit any more.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from fastapi import Response
from sqlalchemy import Text, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from billing_api.db import Base, Database, Moment
from billing_api.errors import Problem

STALE: Final = timedelta(minutes=1)
KEPT: Final = timedelta(days=7)
REPLAYED: Final = "idempotent-replayed"


class StoredAnswer(Base):
    """A key that was used: claimed while `status` is null, then with its answer."""

    __tablename__ = "idempotency_keys"

    actor: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    token: Mapped[str]
    claimed_at: Mapped[datetime] = mapped_column(Moment, index=True)
    status: Mapped[int | None]
    body: Mapped[str | None] = mapped_column(Text)
    secret_of: Mapped[str | None]


@dataclass(frozen=True)
class Claim:
    """The right to do the work of a key once; `token` proves it."""

    actor: str
    key: str
    token: str


def fingerprint(path: str, query: str, body: bytes) -> str:
    """Return what two requests must share to be the same request."""
    return hashlib.sha256(b"\x00".join((path.encode(), query.encode(), body))).hexdigest()


async def claim(database: Database, actor: str, key: str, wanted: str, now: datetime) -> Claim | Response:
    """Return a claim, or the stored answer; raises problems where the key is taken."""
    mine = Claim(actor, key, secrets.token_hex(16))
    values = {"fingerprint": wanted, "token": mine.token, "claimed_at": now}
    async with database.writing() as session:
        insert = postgresql.insert if database.engine.dialect.name == "postgresql" else sqlite.insert
        inserted = await session.execute(
            insert(StoredAnswer)
            .values(actor=actor, key=key, **values)
            .on_conflict_do_nothing()
            .returning(StoredAnswer.key)
        )
        if inserted.first() is not None:
            return mine
        stored = await session.get(StoredAnswer, (actor, key), with_for_update=True)
        if stored is None:  # released this moment
            raise _running(key)
        if stored.status is None and now - stored.claimed_at > STALE:
            stored.fingerprint, stored.token, stored.claimed_at = wanted, mine.token, now
            return mine
        return _stored(stored, wanted)


def _stored(stored: StoredAnswer, wanted: str) -> Response:
    if stored.fingerprint != wanted:
        raise Problem(422, "idempotency_key_reused", f"the Idempotency-Key {stored.key!r} belongs to another request")
    if stored.status is None:
        raise _running(stored.key)
    if stored.secret_of is not None:
        detail = f"this request created {stored.secret_of}, and its secret was shown then; rotate it to get another"
        raise Problem(409, "secret_already_shown", detail, id=stored.secret_of)
    return Response(stored.body, stored.status, {REPLAYED: "true"}, "application/json")


def _running(key: str) -> Problem:
    detail = f"the request with the Idempotency-Key {key!r} is still running"
    return Problem(409, "idempotency_key_in_use", detail, {"retry-after": "1"})


async def complete(session: AsyncSession, claim: Claim, response: Response, secret_of: str | None) -> None:
    """Store the answer in the transaction of the work; an answer that reveals a secret is not stored, only its being given."""
    body = None if secret_of is not None else bytes(response.body).decode()
    done = await session.execute(
        update(StoredAnswer)
        .where(StoredAnswer.actor == claim.actor, StoredAnswer.key == claim.key, StoredAnswer.token == claim.token)
        .values(status=response.status_code, body=body, secret_of=secret_of)
        .returning(StoredAnswer.key)
    )
    if done.first() is None:
        raise _running(claim.key)


async def release(database: Database, claim: Claim) -> None:
    """Drop the claim if its work stored no answer."""
    async with database.reading() as session:
        held = select(StoredAnswer.key).where(StoredAnswer.token == claim.token, StoredAnswer.status.is_(None))
        if (await session.scalars(held)).first() is None:
            return
    async with database.writing() as session:
        await session.execute(
            delete(StoredAnswer).where(StoredAnswer.token == claim.token, StoredAnswer.status.is_(None))
        )


async def forget(database: Database, now: datetime) -> None:
    """Drop answers that are older than a client may still ask for."""
    async with database.writing() as session:
        await session.execute(delete(StoredAnswer).where(StoredAnswer.claimed_at < now - KEPT))
