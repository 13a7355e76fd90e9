"""What stands in for the recording side: a recorder and a key directory in memory."""

from datetime import datetime

import msgspec

from contracts.events import RequestData, UsageData
from contracts.projection import KeyRecord
from proxy.ports import Principal, Refusal

KEY = b"wb-key-of-search"
KEY_RECORD = KeyRecord(id="key_1", tenant="ten_search", team="team_a", user="user_b", revision=1)


class MemoryRecorder:
    """Keeps copies of what it is told, in order."""

    producer = "test-0"
    epoch = "0" * 32

    def __init__(self) -> None:
        self.decisions: list[RequestData] = []
        self.opens: list[RequestData] = []
        self.progress: list[UsageData] = []
        self.closes: list[UsageData] = []
        self.refusal: Refusal | None = None
        self._ids = 0

    def full(self) -> Refusal | None:
        return self.refusal

    def new_request_id(self) -> str:
        self._ids += 1
        return f"req_{self._ids:06d}"

    def decided(self, data: RequestData, now: datetime) -> None:
        self.decisions.append(msgspec.structs.replace(data))
        if data.admitted_at is not None:
            self.opens.append(self.decisions[-1])

    def progressed(self, request_id: str, draft: UsageData, now: datetime) -> None:
        assert draft.request_id == request_id
        self.progress.append(msgspec.structs.replace(draft))

    def closed(self, data: UsageData, now: datetime) -> None:
        assert data.request_id in {draft.request_id for draft in self.opens}
        assert data.request_id not in {other.request_id for other in self.closes}
        self.closes.append(msgspec.structs.replace(data))


class MemoryDirectory:
    """Knows some keys at once (`cached`), others only when asked for (`distant`)."""

    def __init__(self) -> None:
        self.known: dict[bytes, Principal | Refusal] = {KEY: Principal(KEY_RECORD, {"project": "search"})}
        self.distant: dict[bytes, Principal | Refusal] = {}
        self.asked = 0
        self.addresses: list[str | None] = []

    def cached(self, token: bytes, now: datetime) -> Principal | Refusal | None:
        return self.known.get(token)

    async def find(self, token: bytes, address: str | None, now: datetime) -> Principal | Refusal:
        self.asked += 1
        self.addresses.append(address)
        return self.distant.get(token) or Refusal("invalid_api_key", "Incorrect API key provided.")
