"""`weighbridge demo`: a minute of mixed traffic, and what became of it."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Final

import httpx
import typer

from cli.client import DATA_DIR, Api, Json, RunningUp, connect, endpoints
from cli.first_run import model_through
from cli.output import print_rows, progress
from contracts.clock import rfc3339, utc_now

TENANTS: Final = ("Search", "Support", "Research")
WRONG_KEY: Final = "wb_live_a_key_that_nobody_gave_out"
WEIGHTS: Final = {"unary": 5, "stream": 5, "cancelled": 1, "wrong key": 1}
PATHS: Final = {"/v1/chat/completions": 4, "/v1/responses": 1, "/v1/messages": 1}
"""What every vLLM that generates answers."""
LEDGER_SECONDS: Final = 60.0


@dataclass
class Load:
    """What is sent, and what the clients saw: answers by kind and status, and how many must show up as usage."""

    proxies: list[str]
    keys: list[str]
    model: str
    seconds: int
    concurrency: int
    seed: int
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    admitted: int = 0

    async def send(self, show: Callable[[float], None]) -> None:
        """Let all clients send until the time is over."""
        start = time.monotonic()

        async def client(number: int) -> None:
            mix = random.Random(self.seed * 1000 + number)  # noqa: S311  # a repeatable mix, no secret
            async with httpx.AsyncClient(base_url=self.proxies[number % len(self.proxies)], timeout=60) as http:
                while (passed := time.monotonic() - start) < self.seconds:
                    show(passed)
                    await self._request(http, self.keys[number % len(self.keys)], mix)
                    await asyncio.sleep(mix.expovariate(5))

        await asyncio.gather(*(client(number) for number in range(self.concurrency * len(self.keys))))

    async def _request(self, http: httpx.AsyncClient, key: str, mix: random.Random) -> None:
        kind = mix.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        path = mix.choices(list(PATHS), list(PATHS.values()))[0]
        tokens, words = mix.randint(5, 200), "Tell me about weighbridges. " * mix.randint(1, 20)
        body: Json = {"model": self.model, "stream": kind in ("stream", "cancelled")}
        if path == "/v1/responses":
            body |= {"max_output_tokens": tokens, "input": words}
        else:
            body |= {"max_tokens": tokens, "messages": [{"role": "user", "content": words}]}
        headers = {"authorization": f"Bearer {WRONG_KEY if kind == 'wrong key' else key}"}
        try:
            async with http.stream("POST", path, json=body, headers=headers) as answer:
                self.admitted += answer.status_code == 200
                async for _ in answer.aiter_bytes():
                    if kind == "cancelled":
                        break
            self.answers[kind, str(answer.status_code)] += 1
        except httpx.HTTPError as error:
            self.answers[kind, type(error).__name__] += 1


def demo(
    data_dir: RunningUp = DATA_DIR,
    seconds: Annotated[int, typer.Option(min=1, max=3600, help="For how long.")] = 60,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Clients of each tenant.")] = 2,
    seed: Annotated[int, typer.Option(help="The same seed sends the same mix.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send mixed traffic of three tenants (unary, streamed, cancelled, with wrong keys), then show their usage.

    Example: weighbridge demo --seconds 20
    """
    known = endpoints(data_dir)
    with connect(None, None, data_dir) as api:
        keys = {name: _key(api, name, seconds) for name in TENANTS}
        model = model_through(known["proxy"], known["demo_key"])
        started, load = (
            rfc3339(utc_now()),
            Load(known["proxies"], list(keys.values()), model, seconds, concurrency, seed),
        )
        with progress("Sending", seconds) as show:
            asyncio.run(load.send(show))
        rows = _usage(api, started, load.admitted)
        names = {row["id"]: row["name"] for row in api.all("/v1/tenants")}
    if not as_json:
        sent = [
            {"request": kind, "answer": answer, "count": count}
            for (kind, answer), count in sorted(load.answers.items())
        ]
        print_rows(sent, ("request", "answer", "count"), as_json=False)
        typer.echo("")
    columns = (
        "name",
        "requests",
        "input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "billed_cost",
        "currency",
    )
    table = [{"name": names.get(str(row["group"]["tenant"]), row["group"]["tenant"]), **row} for row in rows]
    print_rows(table, columns, as_json=as_json)


def _key(api: Api, name: str, seconds: int) -> str:
    """Return a key, good for the demo alone, of the tenant with this name, which is made when it is missing."""
    external = f"demo-{name.lower()}"
    found = api.get("/v1/tenants", external_id=external)["data"]
    tenant = found[0] if found else api.post("/v1/tenants", {"name": name, "currency": "EUR", "external_id": external})
    expires = rfc3339(utc_now() + timedelta(seconds=seconds + 600))
    return str(api.post("/v1/keys", {"tenant": tenant["id"], "name": "demo", "expires_at": expires})["secret"])


def _usage(api: Api, started: str, expected: int) -> list[Json]:
    """Return the usage since the start by tenant, as soon as all of it is in the ledger, or when that takes too long."""
    deadline = time.monotonic() + LEDGER_SECONDS
    while True:
        rows = api.all("/v1/usage", None, group_by="tenant", **{"from": started})
        if sum(row["requests"] for row in rows) >= expected or time.monotonic() > deadline:
            return rows
        time.sleep(0.5)
