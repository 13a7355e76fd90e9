"""What a process asks of counters in one step, and what it is told: for the model and for the script in Redis alike."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from contracts.quota_feedback import ActiveCounter

Kind = Literal["S", "C", "N"]
"""A sliding window, a calendar window, or a number of slots (now)."""
Beyond = Literal["B", "D", "F"]
"""What happens where a need does not fit: the step is blocked, the counter is left out (a doubt), or it is taken by force."""

SHARE: Final = 8
"""A process gets at most a SHARE-th of what is left beyond what it needs: slices shrink as a limit fills."""

Report = tuple[str, int, int]
"""Place, what moves there from the lease, what is added beside the lease (less than 0: taken back).

The place is the sub-bucket of a sliding window; of a calendar window the sequence of the newest usage event that is in it,
or nothing where no event will tell.
"""


class Ask(NamedTuple):
    """What a process asks of one counter. `need`: additional units without which the step fails; `want`: what it would like.

    `number` only grows in a process: reports and `give` of a number that was seen are not done twice. `floor`: units that the
    process holds in any case. `declare`: this is what the process knows, after Redis may have lost it.
    """

    key: str
    kind: Kind
    amount: int
    width: int
    gone_at: int
    """Unix seconds at which the counter of a calendar window can be forgotten."""
    number: int
    floor: int
    give: int
    need: int
    want: int
    beyond: Beyond
    declare: bool
    reports: tuple[Report, ...]


class State(NamedTuple):
    """How a counter stands for one process after the step. `room`: what is left beside all leases; less than 0: debt.

    `known`: whether Redis knew this process before, so that its leases still held; `there`: whether there was such a counter.
    `retry_at`: where a need did not fit, the
    microsecond (of Redis) at which it will; 0: it fits.
    """

    lease: int
    known: bool
    there: bool
    room: int
    retry_at: int


class Reply(NamedTuple):
    """What a step did. `stale`: nothing, the process's idea of the store's life is older than a counter's."""

    status: Literal["done", "denied", "stale"]
    now: int
    """Microseconds of Redis' clock."""
    states: tuple[State, ...]


class Attendance(NamedTuple):
    """What a process learns when it says that it is there. Moments are microseconds of Redis' clock.

    `life`: grows whenever the counters may be wrong; before `ready` nothing is granted. `processes`: those that are there.
    """

    life: int
    ready: int
    now: int
    server: str
    processes: tuple[str, ...]


class Store(Protocol):
    """Where counters are kept. All methods raise RedisError, OSError or TimeoutError when it does not answer."""

    async def attend(
        self, process: str, life: int, *, declared: bool, lost: bool, lease: int, known: Sequence[str]
    ) -> Attendance:
        """Say that a process is there. `life`: the one it knows, 0: none; `known`: processes it knows of.

        `declared`: it has declared in this life what it holds; `lost`: it found a lease forgotten. `lease`: microseconds.
        """

    async def exchange(self, process: str, life: int, lease: int, asks: Sequence[Ask]) -> Reply:
        """Book what is reported, then grant all needs, or none. `lease`: microseconds that leases last."""

    async def register(self, tenant: str, counters: Sequence[ActiveCounter]) -> None:
        """Let the stream know of calendar counters in use."""


def arguments(asks: Sequence[Ask]) -> list[str | int]:
    """Return asks as the script reads them."""
    flat: list[str | int] = []
    for ask in asks:
        flat += ask[1:11]
        flat += (int(ask.declare), len(ask.reports))
        for report in ask.reports:
            flat += report
    return flat


def reply(raw: Sequence[int]) -> Reply:
    """Read what the script returned."""
    code, now, *values = raw
    states = [
        State(lease, bool(known), bool(there), room, retry_at)
        for lease, known, there, room, retry_at in zip(*[iter(values)] * 5, strict=True)
    ]
    return Reply("done" if code == 0 else "denied" if code == 1 else "stale", now, tuple(states))
