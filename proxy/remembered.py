"""Records by name, bounded: the newest of each, and of tenants, teams and users also what other systems call them."""

from typing import Final, Generic, TypeVar

from contracts.limits import PlanRecord
from contracts.projection import KeyRecord, SubjectRecord

KEPT: Final = 50_000
"""Records of each kind; the one learned longest ago goes first."""

R = TypeVar("R", KeyRecord, SubjectRecord, PlanRecord)


class Records(Generic[R]):
    """Of one kind. `changed`: whether they differ from what was saved last."""

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
            self.forget(next(iter(self.by_name)))
        return newest

    def forget(self, name: str) -> bool:
        """Drop a record; return whether it was there."""
        there = self.by_name.pop(name, None) is not None
        self.changed = self.changed or there
        return there


class Subjects(Records[SubjectRecord]):
    """Tenants, teams or users by id, and by external id."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: dict[tuple[str | None, str], str] = {}

    def learn(self, name: str, record: SubjectRecord) -> SubjectRecord:
        """Keep the newer of the record and the one that is there; return it."""
        self._drop_id(name)
        newest = super().learn(name, record)
        if newest.external_id is not None:
            self._ids[newest.tenant, newest.external_id] = name
        return newest

    def forget(self, name: str) -> bool:
        """Drop a record; return whether it was there."""
        self._drop_id(name)
        return super().forget(name)

    def find(self, tenant: str | None, name: str) -> SubjectRecord | None:
        """Return the one of that id, else of that external id, that is the tenant's (None: a tenant itself)."""
        found = self.by_name.get(name)
        if found is not None and found.tenant == tenant:
            return found
        return self.by_name.get(self._ids.get((tenant, name), ""))

    def _drop_id(self, name: str) -> None:
        held = self.by_name.get(name)
        if held is not None and held.external_id is not None and self._ids.get((held.tenant, held.external_id)) == name:
            del self._ids[held.tenant, held.external_id]
