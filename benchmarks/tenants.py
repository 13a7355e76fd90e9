"""Tenants that send chats at a rate of their own, whatever became of those before; and what became of them."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic

import aiohttp
import msgspec

from benchmarks.processes import HOST
from contracts.limits import weighted

PROMPT_WORDS = 40
MOST_TOKENS = 40


@dataclass
class Tenant:
    """One, and its requests' ends. Times are seconds since the load began."""

    name: str
    key: str
    rate: float
    """Requests a second."""
    first_tokens: list[tuple[float, float]] = field(default_factory=list)
    """When one was sent, and how long its first token took."""
    tokens: list[tuple[float, int]] = field(default_factory=list)
    """When one ended, and the weighted tokens that it used."""
    given_up: list[tuple[float, float]] = field(default_factory=list)
    """When one was sent that had no token at the end, and how long it had waited."""
    refused: int = 0


async def load(port: int, tenants: Iterable[Tenant], seconds: float) -> None:
    """Have all send for so long; what has no answer a moment later is given up."""
    begun = monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        senders = [asyncio.create_task(_send(session, port, tenant, begun, seconds)) for tenant in tenants]
        await asyncio.gather(*senders)


async def _send(session: aiohttp.ClientSession, port: int, tenant: Tenant, begun: float, seconds: float) -> None:
    draw, asked = random.Random(tenant.name), set()
    at = 0.0
    while (at := at + draw.expovariate(tenant.rate)) < seconds:
        await asyncio.sleep(begun + at - monotonic())
        task = asyncio.create_task(_ask(session, port, tenant, begun, draw.randint(1, MOST_TOKENS)))
        asked.add(task)
        task.add_done_callback(asked.discard)
    await asyncio.sleep(max(0.0, begun + seconds - monotonic()))
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


async def _ask(session: aiohttp.ClientSession, port: int, tenant: Tenant, begun: float, tokens: int) -> None:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "word " * PROMPT_WORDS}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
        "max_tokens": tokens,
    }
    sent = monotonic()
    url, fields = f"http://{HOST}:{port}/v1/chat/completions", {"authorization": f"Bearer {tenant.key}"}
    first, usage = None, None
    try:
        async with session.post(url, json=body, headers=fields) as answer:
            if answer.status != 200:
                tenant.refused += 1
                return
            async for line in answer.content:
                if first is None and b'"content":"' in line and b'"content":""' not in line:
                    first = monotonic() - sent
                if b'"usage":{' in line:
                    usage = msgspec.json.decode(line[5:])["usage"]
    except asyncio.CancelledError:
        if first is None:
            tenant.given_up.append((sent - begun, monotonic() - sent))
        raise
    if first is None or usage is None:
        raise RuntimeError("an answer without tokens")
    tenant.first_tokens.append((sent - begun, first))
    used = weighted(usage["prompt_tokens"], usage["completion_tokens"])
    tenant.tokens.append((monotonic() - begun, used))
