"""One request's way through the engine: wait for a place, wait for the first token, then token after token to the client.

A token is made in the moment in which it is written, so what was generated when a client leaves is what was written to its
socket, and the last usage on the wire is what the counters hold. Two gaps remain, both also in vLLM: what the kernel still
held when the client reset the connection, and an answer that is not streamed, of which nothing was written yet.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Literal, Protocol

from contracts.clock import rfc3339, utc_now
from sim import errors
from sim.answers import DONE, Format, Job, R
from sim.engine import Choice, Limits, seed_of
from sim.journal import Entry, Journal, Outcome
from sim.metrics import Counters
from sim.prefix import PrefixCache
from sim.requests import token_limit
from sim.settings import SimSettings

Fault = Literal["error", "break", "drop"]
FAULT_HEADER = b"x-sim-fault"
"""A request header that asks for a failure (error, break or drop), for tests that must not be left to chance."""


class Outlet(Protocol):
    """Where an answer goes; a connection. When its client leaves, it cancels the task that answers."""

    def send(self, status: int, body: bytes) -> None:
        """Send a whole JSON answer."""

    def open_stream(self) -> None:
        """Send the head of a stream."""

    def write(self, data: bytes) -> None:
        """Send a part of a stream."""

    def close_stream(self) -> None:
        """End a stream."""

    def abort(self) -> None:
        """Break the connection."""

    async def writable(self) -> None:
        """Wait until the client has read enough for more to be written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a request before it runs. `fault_at` is the token after which the fault strikes."""

    path: str
    received: float
    limits: tuple[Limits, ...]
    fault: Fault | None = None
    fault_at: int = 0


class Backend:
    """The one engine behind all connections."""

    def __init__(self, settings: SimSettings, counters: Counters, journal: Journal) -> None:
        self._settings = settings
        self._counters = counters
        self._journal = journal
        self._cache = PrefixCache(settings.sim_block_size, settings.sim_cache_blocks)
        self._places = asyncio.Semaphore(settings.sim_capacity)
        self._random = Random(settings.sim_seed)  # noqa: S311 # failures on demand, no secrets

    def plan(self, job: Job[R], path: str, headers: dict[bytes, bytes]) -> Plan:
        """Decide what a request may generate and whether it fails; raises ApiError when it does not fit the model."""
        request, settings = job.request, self._settings
        eos = None if request.ignore_eos else settings.sim_eos_every
        limits = tuple(
            Limits(
                token_limit(request, prompt, settings.sim_max_model_len), request.min_tokens or 0, request.stops, eos
            )
            for prompt in job.prompts
        )
        asked = headers.get(FAULT_HEADER)
        fault = {b"error": "error", b"break": "break", b"drop": "drop"}.get(asked) if asked else self._draw_fault()
        return Plan(
            path=path,
            received=monotonic(),
            limits=limits,
            fault=fault,  # type: ignore[arg-type] # mypy widens the dict's values
            fault_at=self._random.randint(1, min(16, limits[0].max_tokens)) if fault else 0,
        )

    async def serve(self, job: Job[R], plan: Plan, format_for: Callable[[Job[R]], Format], outlet: Outlet) -> None:
        """Answer a request. Cancelled when the client leaves: what was generated until then stays counted."""
        try:
            if plan.fault == "error":
                self._end(job, plan, "failed")
                outlet.send(500, errors.internal().body)
                return
            async with self._place(job, plan):
                self._start(job, plan)
                if self._settings.sim_ttft_seconds:
                    await asyncio.sleep(self._settings.sim_ttft_seconds)
                answer = self._stream if job.request.stream else self._whole
                await answer(job, plan, format_for(job), outlet)
        except asyncio.CancelledError:
            self._end(job, plan, "aborted")
            raise

    @asynccontextmanager
    async def _place(self, job: Job[R], plan: Plan) -> AsyncIterator[None]:
        counters = self._counters
        counters.waiting += 1
        try:
            await self._places.acquire()
        finally:
            counters.waiting -= 1
        counters.running += 1
        counters.queue_time.observe(monotonic() - plan.received)
        try:
            yield
        finally:
            counters.running -= 1
            counters.held_tokens -= sum(choice.prompt.size + choice.generated for choice in job.choices)
            self._places.release()

    def _start(self, job: Job[R], plan: Plan) -> None:
        """Set up the choices, each with what the prefix cache has of its prompt by now."""
        counters, settings = self._counters, self._settings
        n = job.request.choices
        for place, prompt in enumerate(job.prompts):
            seed = seed_of(prompt, job.request.seed, settings.sim_seed)
            for number in range(n):
                hit = self._cache.admit(prompt)
                counters.cache_queries += prompt.size
                counters.cache_hits += hit.cached
                counters.held_tokens += prompt.size
                job.choices.append(Choice(place * n + number, prompt, hit, seed + number, plan.limits[place]))

    async def _stream(self, job: Job[R], plan: Plan, shape: Format, outlet: Outlet) -> None:
        outlet.open_stream()
        greetings = b"".join(map(shape.greeting, job.choices))
        if greetings:
            outlet.write(greetings)
        live = list(job.choices)
        pace = _Pace(self._settings.sim_tokens_per_second)
        while live:
            for choice in live:
                text = self._token(choice, plan)
                outlet.write(shape.event(choice, text))
                if plan.fault and job.generated >= plan.fault_at:
                    self._strike(job, plan, outlet)
                    return
            live = [choice for choice in live if choice.finish is None]
            if live:
                await outlet.writable()
                await pace.next()
        self._end(job, plan, "finished")
        outlet.write(shape.closing() + DONE)
        outlet.close_stream()

    async def _whole(self, job: Job[R], plan: Plan, shape: Format, outlet: Outlet) -> None:
        live = list(job.choices)
        pace = _Pace(self._settings.sim_tokens_per_second)
        while live:
            for choice in live:
                self._token(choice, plan)
                shape.keep(choice)
            if plan.fault and job.generated >= plan.fault_at:
                self._strike(job, plan, outlet)
                return
            live = [choice for choice in live if choice.finish is None]
            if live and pace.seconds:
                await pace.next()
        self._end(job, plan, "finished")
        outlet.send(200, shape.body())

    def _token(self, choice: Choice, plan: Plan) -> str:
        """Generate one token and count it; the prompt counts with the first one."""
        text = choice.step()
        counters, now = self._counters, monotonic()
        counters.generation_tokens += 1
        counters.held_tokens += 1
        if choice.generated == 1:
            counters.prompt_tokens += choice.prompt.size
            counters.cached_tokens += choice.hit.cached
            counters.first_token.observe(now - plan.received)
        else:
            counters.between_tokens.observe(now - choice.stepped)
        choice.stepped = now
        if choice.finish is not None:
            counters.finished[choice.finish] += 1
            counters.latency.observe(now - plan.received)
            counters.request_prompt_tokens.observe(choice.prompt.size)
            counters.request_generation_tokens.observe(choice.generated)
        return text

    def _strike(self, job: Job[R], plan: Plan, outlet: Outlet) -> None:
        """Fail midway, as planned."""
        self._end(job, plan, "dropped" if plan.fault == "drop" else "broken")
        if plan.fault == "drop":
            outlet.abort()
            return
        self._counters.finished["error"] += 1
        error = errors.internal()
        if job.request.stream:
            outlet.write(b"data: %b\n\n" % error.body + DONE)
            outlet.close_stream()
        else:
            outlet.send(error.status, error.body)

    def _draw_fault(self) -> Fault | None:
        settings = self._settings
        if not (settings.sim_error_rate or settings.sim_break_rate or settings.sim_drop_rate):
            return None
        drawn = self._random.random()
        for fault, rate in (
            ("error", settings.sim_error_rate),
            ("break", settings.sim_break_rate),
            ("drop", settings.sim_drop_rate),
        ):
            if drawn < rate:
                return fault  # type: ignore[return-value] # mypy widens the tuple's strings
            drawn -= rate
        return None

    def _end(self, job: Job[R], plan: Plan, outcome: Outcome) -> None:
        if not self._journal.on:
            return
        begun = [choice for choice in job.choices if choice.generated]
        self._journal.write(
            Entry(
                at=rfc3339(utc_now()),
                request_id=job.id.partition("-")[2],
                path=plan.path,
                model=job.model,
                stream=bool(job.request.stream),
                choices=len(job.prompts) * job.request.choices,
                prompt_tokens=job.prompt_tokens,
                cached_tokens=job.choices[-1].hit.cached if job.choices else 0,
                generated_tokens=job.generated,
                engine_prompt_tokens=sum(choice.prompt.size for choice in begun),
                outcome=outcome,
            )
        )


class _Pace:
    """Spaces tokens evenly, without adding up delays. At speed 0 it only lets others run."""

    def __init__(self, tokens_per_second: float) -> None:
        self.seconds = 1 / tokens_per_second if tokens_per_second else 0.0
        self._due = monotonic()

    async def next(self) -> None:
        self._due += self.seconds
        await asyncio.sleep(max(self._due - monotonic(), 0) if self.seconds else 0)
