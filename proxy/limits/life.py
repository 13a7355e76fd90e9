"""Whether Redis can be asked: it is there, and its counters are whole. Told to `/readyz` and metrics."""

from typing import Final, Literal

import structlog
from redis.exceptions import RedisError

from proxy.limits.outage import Share
from proxy.limits.slices import Slices
from proxy.limits.wire import Attendance, Store

AWAY: Final = (RedisError, OSError, TimeoutError)
State = Literal["up", "rebuilding", "down"]
_log = structlog.get_logger(__name__)


class Life:
    """The life that Redis' counters are in, as this process knows it. `lease`: seconds."""

    def __init__(self, store: Store, process: str, lease: float, slices: Slices) -> None:
        self.number = 0
        """0: not known yet."""
        self.state: State = "down"
        self.processes: tuple[str, ...] = ()
        self.changed = False
        """A new life began, in which this process has not declared what it holds."""
        self.attended_at = float("-inf")
        self._store, self._process, self._lease, self._slices = store, process, round(lease * 1_000_000), slices
        self._lost = False

    @property
    def share(self) -> Share:
        """Return this process's share, by those it last knew to be there."""
        return Share(self._process, self.processes)

    def away(self, error: BaseException) -> None:
        """Note that Redis did not answer."""
        if self.state != "down":
            _log.warning("limits cannot be asked", error=repr(error))
        self.state = "down"

    def lost(self) -> None:
        """Note that Redis has forgotten what it knew, or knows of a later life."""
        if not self._lost:
            _log.warning("redis lost its memory of limits")
        self._lost = True
        self.state = "rebuilding"

    async def attend(self) -> None:
        """Say that this process is there, and learn the life."""
        self.attended_at = self._slices.boot()
        try:
            known = await self._store.attend(
                self._process,
                self.number,
                declared=self.number > 0 and not self.changed and not self._lost,
                lost=self._lost,
                lease=self._lease,
                known=self.processes,
            )
        except AWAY as error:
            self.away(error)
            return
        self._slices.heard(known.now, self.attended_at)
        self._take_over(known)

    def _take_over(self, known: Attendance) -> None:
        if known.life != self.number:
            self.number, self.changed = known.life, True
        self._lost = False
        self.processes = known.processes
        state: State = "up" if known.now >= known.ready and not self.changed else "rebuilding"
        if state != self.state:
            _log.info("limits", state=state, life=known.life)
        self.state = state
