"""A vLLM that is killed and started again under load: who asks once it is back notices nothing, and nobody is billed twice."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import httpx
import msgspec

from tests.proxy.fakes import KEY
from tests.proxy.serving import Proxy, proxy, unary
from tests.proxy.test_service import RUN
from tests.servers import Server, free_port, listens

CLIENTS = 8
BODY = {"model": "tiny", "prompt": "Say something.", "max_tokens": 5}


class Load:
    """Clients that ask one thing after the other until told to stop. `back` is set when the server is known to be there."""

    def __init__(self, it: Proxy) -> None:
        self.url = f"http://127.0.0.1:{it.traffic.port}/v1/completions"
        self.statuses: Counter[int] = Counter()
        self.late: Counter[int] = Counter()
        self.tokens = 0
        self.back = self.stopped = False

    async def run(self) -> None:
        headers = {"authorization": "Bearer " + KEY.decode()}
        async with httpx.AsyncClient(headers=headers, timeout=120) as client:
            while not self.stopped:
                of = self.late if self.back else self.statuses
                answer = await client.post(self.url, json=BODY)
                of[answer.status_code] += 1
                if answer.status_code == 200:
                    self.tokens += msgspec.json.decode(answer.content)["usage"]["completion_tokens"]

    async def until(self, status: int, more: int) -> None:
        """Wait for so many more answers of that kind."""
        aim = self.statuses[status] + more
        async with asyncio.timeout(120):
            while self.statuses[status] < aim:
                await asyncio.sleep(0.01)


async def test_a_restart_under_load(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", RUN.format(package="sim", settings="SimSettings")]
    command += [f"sim_listen=127.0.0.1:{port}", "sim_tokens_per_second=200"]
    sim = await asyncio.to_thread(Server, command, "", tmp_path / "sim.log", lambda: listens(port))
    try:
        async with proxy(unary, upstream=f"http://127.0.0.1:{port}") as it:
            load = Load(it)
            clients = [asyncio.create_task(load.run()) for _ in range(CLIENTS)]
            for _ in range(2):
                await load.until(200, 50)
                await asyncio.to_thread(sim.kill)
                await load.until(502, 20)
                await asyncio.to_thread(sim.start)
                await load.until(200, 50)
            load.back = True
            async with asyncio.timeout(120):
                while load.late.total() < 100:
                    await asyncio.sleep(0.01)
            load.stopped = True
            await asyncio.gather(*clients)
            closes = it.recorder.closes
            assert set(load.late) == {200}, "once it is back, no answer of the time before comes up again"
            assert set(load.statuses) == {200, 502}
            assert len(closes) == len(it.recorder.opens) == load.statuses.total() + load.late.total()
            assert {usage.outcome for usage in closes} == {"completed", "upstream_error"}
            billed = sum(usage.output_tokens or 0 for usage in closes)
            assert billed == load.tokens, "what clients got is billed once, and nothing else is"
    finally:
        await asyncio.to_thread(sim.stop)
