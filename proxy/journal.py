"""All that this process has to bring to the ledger: its own spool, and those it adopted from processes that died."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import structlog

from contracts.clock import Clock
from contracts.events import AckData
from proxy.lost import lost_event
from proxy.spool import adoption
from proxy.spool.adoption import Adopted
from proxy.spool.spool import Spool

LINGER: Final = 0.05
"""Seconds between two groups: what is appended meanwhile is synced, and then published, together."""
ADOPT_EVERY: Final = 5.0
_RETRY_SPACE_EVERY: Final = 1.0
_log = structlog.get_logger(__name__)

Source = Spool | Adopted


class Journal:
    """Syncs the own spool off the event loop, adopts orphans, and hands acknowledgements to whom they concern.

    `on_change` is called when there is something new to publish or the ledger took something off the list.
    """

    def __init__(self, home: Path, spool: Spool, clock: Clock) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._home, self._clock = home, clock
        self._spool = spool
        self._adopted: list[Adopted] = []
        self._unreadable: set[Path] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool-sync")

    @property
    def sources(self) -> list[Source]:
        """All spools that have, or may get, something to publish."""
        return [self._spool, *self._adopted]

    @property
    def bytes_used(self) -> int:
        """Bytes on disk that the ledger has not let go of."""
        return sum(source.bytes_used for source in self.sources)

    @property
    def idle(self) -> bool:
        """Whether the ledger has all that was recorded."""
        return not any(source.backlog for source in self.sources) and not self._spool.dirty

    @property
    def unsent(self) -> bool:
        """Whether the broker does not have everything yet."""
        return any(source.backlog.unsent for source in self.sources)

    def lag(self, now: float) -> float:
        """Return the age in seconds of the oldest event that the ledger has not acknowledged; 0 when it has all."""
        oldest = [source.backlog.oldest for source in self.sources if source.backlog.oldest is not None]
        return now - min(oldest) if oldest else 0.0

    async def flush(self) -> None:
        """Bring to the disk what was appended so far. Raises OSError: then nothing more can be promised."""
        group = self._spool.group(time.monotonic())
        if group is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, group.sync)
            self._spool.durable(group)
            self.on_change()

    async def keep_flushing(self, stop: asyncio.Event) -> None:
        """Sync group after group until `stop` is set, and then once more."""
        space_at = 0.0
        while not stop.is_set():
            await asyncio.sleep(LINGER)
            await self.flush()
            if time.monotonic() >= space_at:
                self._spool.prepare()
                space_at = time.monotonic() + _RETRY_SPACE_EVERY
        await self.flush()

    async def keep_adopting(self) -> None:
        """Adopt orphans, now and again and again, so that a sibling's death is noticed."""
        while True:
            self._adopted += await asyncio.to_thread(self._adopt)
            self._spool.others_bytes = sum(each.bytes_used for each in self._adopted)
            self.on_change()
            await asyncio.sleep(ADOPT_EVERY)

    def acknowledge(self, ack: AckData) -> None:
        """Forget what the ledger says it holds; other producers' acknowledgements pass by."""
        for source in self.sources:
            if source.epoch == ack.epoch and source.backlog.acknowledge(ack.contiguous, time.monotonic()):
                source.collect()
                self.on_change()
        for heir in [each for each in self._adopted if not each.backlog]:
            self._adopted.remove(heir)
            heir.close()
            _log.info("adopted spool delivered", epoch=heir.epoch)

    def close(self) -> None:
        """Give back all files and locks. Blocks."""
        self._thread.shutdown()
        for source in self.sources:
            source.close()

    def _adopt(self) -> list[Adopted]:
        heirs = []
        for folder in adoption.folders(self._home):
            if folder in self._unreadable:
                continue
            try:
                heir = adoption.adopt(folder, lost_event, self._clock())
            except (OSError, msgspec.DecodeError) as error:
                self._unreadable.add(folder)
                _log.error("spool cannot be adopted", folder=str(folder), error=str(error))
                continue
            if heir is None:
                continue
            _log.info("spool adopted", epoch=heir.epoch, lost_requests=heir.lost)
            if heir.backlog:
                heirs.append(heir)
            else:
                heir.close()
        return heirs
