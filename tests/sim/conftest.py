from contextlib import AsyncExitStack

import pytest

from contracts.settings import load
from sim.service import Running, running
from sim.settings import SimSettings
from tests.wire import Wire


class Sim:
    """A simulator in the test's own event loop."""

    def __init__(self, server: Running):
        self.url, self.port, self.counters = server.url, server.port, server.counters
        self.wires: list[Wire] = []

    async def wire(self) -> Wire:
        self.wires.append(await Wire.open(self.port))
        return self.wires[-1]

    async def close(self) -> None:
        for wire in self.wires:
            await wire.close()

    async def metrics(self) -> dict[str, float]:
        wire = await self.wire()
        await wire.send("GET", "/metrics", [("Host", "test"), ("Connection", "close")])
        page = (await wire.receive()).body.decode()
        await wire.close()
        lines = [line.rsplit(" ", 1) for line in page.splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, value in lines}


@pytest.fixture
async def start():
    async with AsyncExitStack() as stack:

        async def begin(**flags) -> Sim:
            settings = load(SimSettings, sim_listen="127.0.0.1:0", **flags)
            sim = Sim(await stack.enter_async_context(running(settings)))
            stack.push_async_callback(sim.close)
            return sim

        yield begin
