"""One request's way through the engine: wait for a place, wait for the first token, then token after token to the client.

A token is made in the moment in which it is written, so what was generated when a client leaves is what was written to its
socket, and the last usage on the wire is what the counters hold. Two gaps remain, both also in vLLM: what the kernel still
held when the client reset the connection, and an answer that is not streamed, of which nothing was written yet.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from contracts.clock import rfc3339, utc_now
from sim import errors
from sim.answers import Format, Job
from sim.checks import token_limit
from sim.engine import Choice, Limits, seed_of
from sim.errors import Shape
from sim.faults import Fault, Faults
from sim.journal import Entry, Journal, Outcome
from sim.metrics import Counters
from sim.outlet import Outlet
from sim.pace import Pace
from sim.prefix import PrefixCache
from sim.settings import SimSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a request before it runs: when it came, its limits by prompt, whether it fails, and how errors look.

    `fault_at` is the token after which the fault strikes.
    """

    received: float
    limits: tuple[Limits, ...]
    shape: Shape
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
        self._faults = Faults(settings)

    def plan(self, job: Job, headers: dict[bytes, bytes], shape: Shape) -> Plan:
        """Decide what a request may generate and whether it fails; raises ApiError when it does not fit the model."""
        wish, settings = job.wish, self._settings
        eos = None if wish.ignore_eos else settings.sim_eos_every
        limits = tuple(
            Limits(token_limit(wish, prompt, settings.sim_max_model_len), wish.min_tokens, wish.stops, eos)
            for prompt in job.prompts
        )
        fault, fault_at = self._faults.draw(headers, limits[0].max_tokens)
        return Plan(monotonic(), limits, shape, fault, fault_at)

    async def serve(self, job: Job, plan: Plan, format_for: Callable[[Job], Format], outlet: Outlet) -> None:
        """Answer a request. Cancelled when the client leaves: what was generated until then stays counted."""
        try:
            if plan.fault == "error":
                self._end(job, "failed")
                outlet.send(500, plan.shape(errors.internal()))
                return
            async with self._place(job, plan):
                self._start(job, plan)
                if self._settings.sim_ttft_seconds:
                    await asyncio.sleep(self._settings.sim_ttft_seconds)
                answer = self._stream if job.wish.stream else self._whole
                await answer(job, plan, format_for(job), outlet)
        except asyncio.CancelledError:
            self._end(job, "aborted")
            raise

    async def pool(self, job: Job, plan: Plan, answer: Callable[[], None], outlet: Outlet) -> None:
        """Let the engine read the prompts without a word in return, then answer; `answer` sends."""
        try:
            if plan.fault == "error":
                self._end(job, "failed")
                outlet.send(500, plan.shape(errors.internal()))
                return
            async with self._place(job, plan):
                if self._settings.sim_ttft_seconds:
                    await asyncio.sleep(self._settings.sim_ttft_seconds)
                self._read(job, plan)
                if plan.fault:
                    self._strike(job, plan, outlet, None)
                else:
                    self._end(job, "finished")
                    answer()
        except asyncio.CancelledError:
            self._end(job, "aborted")
            raise

    @asynccontextmanager
    async def _place(self, job: Job, plan: Plan) -> AsyncIterator[None]:
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

    def _start(self, job: Job, plan: Plan) -> None:
        """Set up the choices, each with what the prefix cache has of its prompt by now."""
        counters, settings, wish = self._counters, self._settings, job.wish
        n = wish.choices
        for place, prompt in enumerate(job.prompts):
            seed = seed_of(prompt, wish.seed, settings.sim_seed)
            for number in range(n):
                hit = self._cache.admit(prompt)
                counters.cache_queries += prompt.size
                counters.cache_hits += hit.cached
                counters.held_tokens += prompt.size
                job.choices.append(Choice(place * n + number, prompt, hit, seed + number, plan.limits[place]))

    async def _stream(self, job: Job, plan: Plan, shape: Format, outlet: Outlet) -> None:
        outlet.open_stream()
        opening = shape.opening()
        if opening:
            outlet.write(opening)
        live = list(job.choices)
        pace = Pace(self._settings.sim_tokens_per_second)
        while live:
            for choice in live:
                event = shape.event(choice, self._token(job, choice, plan))
                if event:
                    outlet.write(event)
                if plan.fault and job.generated >= plan.fault_at:
                    self._strike(job, plan, outlet, shape)
                    return
            live = [choice for choice in live if choice.finish is None]
            if live:
                await outlet.writable()
                await pace.next()
        self._end(job, "finished")
        outlet.write(shape.closing())
        outlet.close_stream()

    async def _whole(self, job: Job, plan: Plan, shape: Format, outlet: Outlet) -> None:
        live = list(job.choices)
        pace = Pace(self._settings.sim_tokens_per_second)
        while live:
            for choice in live:
                self._token(job, choice, plan)
                shape.keep(choice)
            if plan.fault and job.generated >= plan.fault_at:
                self._strike(job, plan, outlet, None)
                return
            live = [choice for choice in live if choice.finish is None]
            if live and pace.seconds:
                await pace.next()
        self._end(job, "finished")
        outlet.send(200, shape.body())

    def _token(self, job: Job, choice: Choice, plan: Plan) -> str:
        """Generate one token and count it; the prompt counts with the first one."""
        text = choice.step()
        counters, now = self._counters, monotonic()
        counters.generation_tokens += 1
        counters.held_tokens += 1
        if choice.generated == 1:
            size = choice.prompt.size
            counters.prompt_tokens += size
            job.engine_prompt_tokens += size
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

    def _read(self, job: Job, plan: Plan) -> None:
        """Count prompts that were only read; each is a request of its own in vLLM's figures."""
        counters, seconds = self._counters, monotonic() - plan.received
        for prompt in job.prompts:
            counters.prompt_tokens += prompt.size
            job.engine_prompt_tokens += prompt.size
            counters.finished["stop"] += 1
            counters.latency.observe(seconds)
            counters.request_prompt_tokens.observe(prompt.size)
            counters.request_generation_tokens.observe(0)

    def _strike(self, job: Job, plan: Plan, outlet: Outlet, streamed: Format | None) -> None:
        """Fail midway, as planned."""
        error = errors.internal()
        last = None if streamed is None else streamed.failure(error)
        if plan.fault == "drop" or (streamed is not None and last is None):
            self._end(job, "dropped")
            outlet.abort()
            return
        self._end(job, "broken")
        self._counters.finished["error"] += 1
        if last is None:
            outlet.send(error.status, plan.shape(error))
        else:
            outlet.write(last)
            outlet.close_stream()

    def _end(self, job: Job, outcome: Outcome) -> None:
        if not self._journal.on:
            return
        self._journal.write(
            Entry(
                at=rfc3339(utc_now()),
                request_id=job.request_id,
                path=job.path,
                model=job.model,
                stream=job.wish.stream,
                choices=len(job.prompts) * job.wish.choices,
                prompt_tokens=job.prompt_tokens,
                cached_tokens=job.choices[-1].hit.cached if job.choices else 0,
                generated_tokens=job.generated,
                engine_prompt_tokens=job.engine_prompt_tokens,
                outcome=outcome,
            )
        )
