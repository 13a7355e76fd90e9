"""The records of keys, tenants, teams, users and plans that a proxy has seen: what it goes by while Redis is away.

Saved under SPOOL_DIR, so that a proxy that starts while Redis is away still admits. A file holds digests and records, never a
key; one process writes it, every process on the machine reads all of them.
"""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from contracts.limits import PlanRecord
from contracts.projection import KeyRecord, SubjectRecord
from contracts.redis_keys import SubjectKind
from proxy.identity import Identity
from proxy.spool.segment import sync_folder

KEPT: Final = 50_000
"""Records of each kind; the one learned longest ago goes first."""
PREFIX: Final = "keys-"
SUFFIX: Final = ".json"
KINDS: Final[tuple[SubjectKind, ...]] = ("tenant", "team", "user")

R = TypeVar("R", KeyRecord, SubjectRecord, PlanRecord)


class Saved(msgspec.Struct, frozen=True):
    """What is written to disk: right at `as_of`, when Redis was last in touch."""

    as_of: datetime
    keys: dict[str, KeyRecord]
    subjects: dict[SubjectKind, dict[str, SubjectRecord]]
    plans: dict[str, PlanRecord] = {}


class _Records(Generic[R]):
    def __init__(self) -> None:
        self.by_name: dict[str, R] = {}

        self.changed = False

    def learn(self, name: str, record: R) -> R:
        """Keep the newer of the record and the one that is there; return it."""
        held = self.by_name.pop(name, None)
        newest = held if held is not None and held.revision > record.revision else record
        self.changed = self.changed or newest != held
        self.by_name[name] = newest
        if len(self.by_name) > KEPT:
            del self.by_name[next(iter(self.by_name))]
        return newest

    def forget(self, name: str) -> bool:
        """Drop a record; return whether it was there."""
        there = self.by_name.pop(name, None) is not None
        self.changed = self.changed or there
        return there


class KeyMemory:
    """Records by name, bounded."""

    def __init__(self) -> None:
        self._keys: _Records[KeyRecord] = _Records()
        self._subjects: dict[SubjectKind, _Records[SubjectRecord]] = {kind: _Records() for kind in KINDS}
        self._plans: _Records[PlanRecord] = _Records()

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
        named = self.plans_of(digest)
        plans = {name: self._plans.by_name[name] for name in named if name in self._plans.by_name}
        return Identity(digest, key, tenant, team, user, plans) if len(plans) == len(named) else None

    def plans_of(self, digest: str) -> set[str]:
        """Return the names of the plans of a key, and of those it belongs to, as far as they are known."""
        key = self._keys.by_name.get(digest)
        if key is None:
            return set()
        subjects = [self._subjects[kind].by_name.get(getattr(key, kind) or "") for kind in KINDS]
        return {each.plan for each in (key, *subjects) if each is not None and each.plan is not None}

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
