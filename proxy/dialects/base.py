"""What a dialect is: it reads one API's requests, and watches the answers."""

from typing import Protocol

from proxy.sse import Fingerprint
from proxy.watch import Watcher


class BadRequestError(Exception):
    """The client's request cannot be what vLLM would read: `code` is one of the outside interface's."""

    def __init__(self, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.code = code


class Asked:
    """What a dialect is given of a request. `salt` is a secret of the tenant, the same at every request.

    `content_type` is as sent, with its parameters, and empty when the client names none. `parameter` is what stood in the
    path where its route has one.
    """

    __slots__ = ("body", "content_type", "parameter", "salt")

    def __init__(
        self, body: bytes, salt: str, content_type: bytes = b"application/json", parameter: str | None = None
    ) -> None:
        self.body = body
        self.salt = salt
        self.content_type = content_type
        self.parameter = parameter


class Call:
    """A request as its dialect understands it. `body` is what goes upstream; `choices` are of all inputs together.

    `keep_usage` and `keep_continuous` say what of the usage in a stream the client asked for itself. `by` is who understood
    it, where a path serves several dialects; it then watches the answer, and names the dialect.
    """

    __slots__ = (
        "body",
        "by",
        "choices",
        "end_user",
        "inputs",
        "keep_continuous",
        "keep_usage",
        "model",
        "stream",
    )

    def __init__(
        self,
        body: bytes,
        model: str | None = None,
        stream: bool = False,
        end_user: str | None = None,
        inputs: int = 1,
        choices: int = 1,
        keep_usage: bool = False,
        keep_continuous: bool = False,
        by: "Dialect | None" = None,
    ) -> None:
        self.body = body
        self.model = model
        self.stream = stream
        self.end_user = end_user
        self.inputs = inputs
        self.choices = choices
        self.keep_usage = keep_usage
        self.keep_continuous = keep_continuous
        self.by = by


class Dialect(Protocol):
    """One API of vLLM."""

    name: str

    def read(self, asked: Asked) -> Call:
        """Understand a request and rebuild its body for vLLM. Raises BadRequestError."""

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer: a stream of events or one object."""
