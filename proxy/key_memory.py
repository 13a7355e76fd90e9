"""The records of keys, tenants, teams, users and plans that a proxy has seen: what it goes by while Redis is away.

Saved under SPOOL_DIR, so that a proxy that starts while Redis is away still admits. A file holds digests and records, never a
key; one process writes it, every process on the machine reads all of them.
"""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from contracts.limits import PlanRecord
from contracts.projection import KeyRecord, SubjectRecord
from contracts.redis_keys import SubjectKind
from proxy.identity import Identity, Named
from proxy.remembered import Records, Subjects
from proxy.spool.segment import sync_folder

PREFIX: Final = "keys-"
SUFFIX: Final = ".json"
KINDS: Final[tuple[SubjectKind, ...]] = ("tenant", "team", "user")


class Saved(msgspec.Struct, frozen=True):
    """What is written to disk: right at `as_of`, when Redis was last in touch."""

    as_of: datetime
    keys: dict[str, KeyRecord]
    subjects: dict[SubjectKind, dict[str, SubjectRecord]]
    plans: dict[str, PlanRecord] = {}


class KeyMemory:
    """Records by name, bounded."""

    def __init__(self) -> None:
        self._keys: Records[KeyRecord] = Records()
        self._subjects: dict[SubjectKind, Subjects] = {kind: Subjects() for kind in KINDS}
        self._plans: Records[PlanRecord] = Records()

    @property
    def changed(self) -> bool:
        """Whether the records differ from what was saved last."""
        subjects = any(records.changed for records in self._subjects.values())
        return self._keys.changed or self._plans.changed or subjects

    def learn_key(self, digest: str, record: KeyRecord) -> KeyRecord:
        """Keep a key's record unless a newer one is held; return the newer."""
        return self._keys.learn(digest, record)

    def learn_subject(self, kind: SubjectKind, record: SubjectRecord) -> SubjectRecord:
        """Keep the record of a tenant, team or user unless a newer one is held; return the newer."""
        return self._subjects[kind].learn(record.id, record)

    def learn_plan(self, record: PlanRecord) -> PlanRecord:
        """Keep a plan unless a newer one is held; return the newer."""
        return self._plans.learn(record.id, record)

    def key(self, digest: str) -> KeyRecord | None:
        """Return what is known of a key."""
        return self._keys.by_name.get(digest)

    def identity(self, digest: str) -> Identity | None:
        """Return who a key stands for, if all the records that takes are known."""
        key = self._keys.by_name.get(digest)
        if key is None:
            return None
        tenant = self._subjects["tenant"].by_name.get(key.tenant)
        team = self._subjects["team"].by_name.get(key.team) if key.team is not None else None
        user = self._subjects["user"].by_name.get(key.user) if key.user is not None else None
        if tenant is None or (key.team and team is None) or (key.user and user is None):
            return None
        return self._with_plans(Identity(digest, key, tenant, team, user))

    def named(self, named: Named) -> Identity | None:
        """Return whom a token names, if its tenant is known, and all plans that takes."""
        bare = self._named(named)
        return self._with_plans(bare) if bare is not None else None

    def subject(self, kind: SubjectKind, tenant: str | None, name: str) -> SubjectRecord | None:
        """Return a tenant (`tenant` None), or a tenant's team or user, by its id or external id."""
        return self._subjects[kind].find(tenant, name)

    def plans_of(self, digest: str) -> set[str]:
        """Return the names of the plans of a key, and of those it belongs to, as far as they are known."""
        key = self._keys.by_name.get(digest)
        if key is None:
            return set()
        subjects = [self._subjects[kind].by_name.get(getattr(key, kind) or "") for kind in KINDS]
        return {each.plan for each in (key, *subjects) if each is not None and each.plan is not None}

    def plans_named(self, named: Named) -> set[str]:
        """Return the names of the plans of those whom a token names, as far as they are known."""
        bare = self._named(named)
        return {subject.plan for _, subject in bare.subjects if subject.plan is not None} if bare is not None else set()

    def _named(self, named: Named) -> Identity | None:
        tenant = self.subject("tenant", None, named.tenant)
        if tenant is None:
            return None
        teams = (self.subject("team", tenant.id, name) for name in named.teams)
        team = next((found for found in teams if found is not None), None)
        user = self.subject("user", tenant.id, named.user) if named.user is not None else None
        key = KeyRecord(
            id="",
            tenant=tenant.id,
            team=team.id if team is not None else None,
            user=user.id if user is not None else None,
            expires_at=named.expires_at,
            revision=0,
        )
        return Identity("", key, tenant, team, user)

    def _with_plans(self, bare: Identity) -> Identity | None:
        wanted = {subject.plan for _, subject in bare.subjects if subject.plan is not None}
        plans = {name: self._plans.by_name[name] for name in wanted if name in self._plans.by_name}
        return msgspec.structs.replace(bare, plans=plans) if len(plans) == len(wanted) else None

    def forget(self, kind: str, name: str) -> bool:
        """Drop a record that is known to be out of date; return whether there was one."""
        if kind == "key":
            return self._keys.forget(name)
        if kind == "plan":
            return self._plans.forget(name)
        return any(records.forget(name) for known, records in self._subjects.items() if known == kind)

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield kind and name of every record, as they are now."""
        for digest in list(self._keys.by_name):
            yield "key", digest
        for kind, records in self._subjects.items():
            for name in list(records.by_name):
                yield kind, name
        for name in list(self._plans.by_name):
            yield "plan", name

    def snapshot(self, as_of: datetime) -> Saved:
        """Return what is to be saved."""
        self._keys.changed = self._plans.changed = False
        for records in self._subjects.values():
            records.changed = False
        subjects = {kind: dict(subject.by_name) for kind, subject in self._subjects.items()}
        return Saved(as_of, dict(self._keys.by_name), subjects, dict(self._plans.by_name))

    def restore(self, saved: Saved) -> None:
        """Learn what was saved."""
        for digest, key in saved.keys.items():
            self._keys.learn(digest, key)
        for kind, records in saved.subjects.items():
            for record in records.values():
                self._subjects[kind].learn(record.id, record)
        for plan in saved.plans.values():
            self._plans.learn(plan.id, plan)


def save(path: Path, saved: Saved) -> None:
    """Replace the file at once, readable by its owner alone. Blocks; call it in a thread. Raises OSError."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor, opened with its mode
        file.write(msgspec.json.encode(saved))
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    sync_folder(path.parent)


def load(folder: Path, now: datetime, grace: timedelta) -> list[Saved]:
    """Return what was saved in the folder and is not older than `grace`; unreadable files count as not there."""
    found = []
    for path in sorted(folder.glob(f"{PREFIX}*{SUFFIX}")):
        try:
            saved = msgspec.json.decode(path.read_bytes(), type=Saved)
        except (OSError, msgspec.DecodeError):
            continue  # a cache: Redis has it all
        if now - saved.as_of <= grace:
            found.append(saved)
    return found
