"""A request whose body is still to come: may its sender send it at all? What it asks for is decided when all of it was read."""

from datetime import datetime

from proxy.errors import Answer
from proxy.exchange import Exchange
from proxy.ports import Principal, Refusal
from proxy.steps import Step
from proxy.streamed import bodies


class Preview(Exchange):
    """The beginning of an exchange: key, path and address are checked, and nothing is recorded but a denial.

    A `Forward` in return has the head of the request. The whole request is an exchange of its own, with the same id.
    """

    __slots__ = ()

    def identified(self, who: Principal | Refusal, now: datetime) -> Step:
        """Take the answer to `AskKey`."""
        found = self._recognise(who)
        if isinstance(found, Answer):
            return found
        route = self._route
        assert route is not None
        return self._check_without_model(found, route, now) or self._pass_free()

    def _pass_free(self) -> Step:
        """Let it be sent, where it is known what of it may be large."""
        if self.path not in bodies.PATHS:
            return self.deny(Refusal("request_too_large", "The request's body is too large for this path."))
        return self._forward(b"", metered=True)

    def turned_down(self, status: int) -> None:
        """Take it that vLLM answered with an error before it had the whole request: the client gets that answer."""
        self.deny(Refusal("upstream_error", f"vLLM answered {status} before it had the whole request."))
        assert self.decision is not None
        self.decision.status = status

    @property
    def path(self) -> str:
        """The route's path."""
        return self._route.path if self._route is not None else ""

    @property
    def tenant(self) -> str | None:
        """Who sends it; None: nobody who is known."""
        key = self._facts.key
        return key.tenant if key is not None else None
