"""What the test of transparent mode runs in its network namespaces: `vllm HOST PORT NAME` or `proxy UPSTREAM PORT`.

The proxy prints a line when it serves, and one for each record of usage: instance, output tokens, client's address.
"""

import asyncio
import sys
import warnings
from datetime import datetime

import uvloop
from prometheus_client import CollectorRegistry

from contracts.events import UsageData
from tests.proxy.fakes import MemoryDirectory, MemoryRecorder
from tests.proxy.memory import config
from tests.proxy.upstream import Got, Piece, RawUpstream, plain

with warnings.catch_warnings():  # mitmproxy imports what imports pyasn1 by names that it deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from proxy.master import Traffic, serve


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Telling(MemoryRecorder):
    def closed(self, data: UsageData, now: datetime) -> None:
        super().closed(data, now)
        tell(f"{data.instance} {data.output_tokens} {data.client_address}")


async def vllm(host: str, port: int, name: str) -> None:
    answer = (
        b'{"id":"%b","model":"tiny","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}' % name.encode()
    )

    def give(_got: Got) -> list[Piece]:
        return [plain(answer)]

    server = await asyncio.start_server(RawUpstream(give).serve, host, port)
    tell("ready")
    await server.serve_forever()


async def proxy(upstream: str, port: int) -> None:
    def started(_traffic: Traffic) -> None:
        tell("ready")

    settings = config(upstream=upstream, listen_host="0.0.0.0", listen_port=port, transparent=True)
    await serve(settings, Telling(), MemoryDirectory(), CollectorRegistry(), started)


if __name__ == "__main__":
    kind, *words = sys.argv[1:]
    uvloop.run(proxy(words[0], int(words[1])) if kind == "proxy" else vllm(words[0], int(words[1]), words[2]))
