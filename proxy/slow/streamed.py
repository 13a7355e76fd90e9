"""A request of the slow lane whose body is passed on as it comes."""

import time

from proxy.errors import Answer
from proxy.lane.lane import Lane
from proxy.slow.request import Outlet, Request
from proxy.steps import Arrival
from proxy.streamed.intake import Intake
from proxy.streamed.upload import Upload


class StreamedRequest(Request):
    """Answers one request; until its body has ended, an `Upload` has the connection to vLLM."""

    def __init__(self, lane: Lane, outlet: Outlet, arrival: Arrival, intake: Intake) -> None:
        super().__init__(lane, outlet, arrival)
        preview = lane.desk.preview(arrival)
        self._exchange = preview
        self._upload = Upload(lane, preview, arrival, intake, lambda: None)

    def begin(self) -> None:
        """Pass the body on, then find out what becomes of the request."""
        self._start(self._run())

    async def _run(self) -> None:
        done = await self._upload.run()
        if isinstance(done, Answer):
            self._answer(done)
            return
        self._exchange, self._upstream = done.exchange, done.connection
        self._loud = False
        self._sent = self._quiet_since = self._recorded = time.monotonic()
        done.give(self)
        if self._paused and self._upstream is not None:
            self._upstream.pause()
