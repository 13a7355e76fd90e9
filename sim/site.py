"""What the answers of all paths share: the served models, the engine, and how a request becomes a job for it."""

import secrets
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from contracts.clock import utc_now
from sim import checks, errors
from sim.answers import Format, Job
from sim.errors import Shape
from sim.generate import Backend
from sim.outlet import Outlet
from sim.prefix import Prompt
from sim.requests import Wish
from sim.server import HttpRequest
from sim.settings import SimSettings
from sim.stored import Store

S = TypeVar("S", bound=msgspec.Struct)
Answering = Coroutine[Any, Any, None]
"""The rest of an answer, which takes time; a client that leaves cancels it."""


class Site:
    """One simulated server."""

    def __init__(self, settings: SimSettings, backend: Backend) -> None:
        self.settings = settings
        self.models = tuple(name.strip() for name in settings.sim_models.split(","))
        self.store = Store()
        self._backend = backend

    def read(self, kind: type[S], request: HttpRequest) -> S:
        """Decode a JSON body; raises ApiError."""
        return checks.read(kind, request.headers.get(b"content-type", b""), request.body)

    def job(self, prefix: str, request: HttpRequest, prompts: list[Prompt], wish: Wish) -> Job:
        """Return a job for some prompts, named by `prefix` and the client's X-Request-Id if it sent one."""
        given = request.headers.get(b"x-request-id")
        name = secrets.token_hex(8) if given is None else given.decode("latin-1")
        return Job(
            id=prefix + name,
            request_id=name,
            path=request.path,
            created=int(utc_now().timestamp()),
            model=self.models[0],
            wish=wish,
            prompts=prompts,
            show_details=self.settings.sim_prompt_tokens_details,
        )

    def generate(
        self,
        job: Job,
        request: HttpRequest,
        format_for: Callable[[Job], Format],
        outlet: Outlet,
        shape: Shape = errors.openai,
    ) -> Answering:
        """Return what generates the answer; raises ApiError when the job does not fit the model."""
        return self._backend.serve(job, self._backend.plan(job, request.headers, shape), format_for, outlet)

    def pool(
        self, job: Job, request: HttpRequest, answer: Callable[[], None], outlet: Outlet, shape: Shape = errors.openai
    ) -> Answering:
        """Return what lets the engine read the prompts and then answers; raises ApiError when one is too long."""
        return self._backend.pool(job, self._backend.plan(job, request.headers, shape), answer, outlet)
