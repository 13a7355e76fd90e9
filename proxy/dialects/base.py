"""What a dialect is: it reads one API's requests, and watches the answers."""

from collections.abc import Mapping
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
    path where its route has one. `fields` are the request's headers by lower-case name. `trusted`: a trusted proxy sent it.
    """

    __slots__ = ("body", "content_type", "fields", "parameter", "salt", "trusted")

    def __init__(
        self,
        body: bytes,
        salt: str,
        content_type: bytes = b"application/json",
        parameter: str | None = None,
        fields: Mapping[bytes, bytes] | None = None,
        trusted: bool = False,
    ) -> None:
        self.trusted = trusted
        self.body = body
        self.salt = salt
        self.content_type = content_type
        self.parameter = parameter
        self.fields: Mapping[bytes, bytes] = fields if fields is not None else {}


class Call:
    """A request as its dialect understands it. `body` is what goes upstream; `choices` are of all inputs together.

    `keep_usage` and `keep_continuous` say what of the usage in a stream the client asked for itself. `free`: it uses no
    tokens, whatever becomes of it. `of_no_model`: it asks nothing of a model, so which ones a key may use does not matter.
    `usage_header` is the answer's header, in lower case, that has the usage in place of its body; `hide_usage_header`: the
    client did not ask for that header. `by` is who understood it, where a path serves several dialects; it then watches the
    answer, and names the dialect.
    """

    __slots__ = (
        "body",
        "by",
        "choices",
        "end_user",
        "free",
        "hide_usage_header",
        "inputs",
        "keep_continuous",
        "keep_usage",
        "model",
        "of_no_model",
        "stream",
        "usage_header",
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
        free: bool = False,
        of_no_model: bool = False,
        usage_header: bytes | None = None,
        hide_usage_header: bool = False,
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
        self.free = free
        self.of_no_model = of_no_model
        self.usage_header = usage_header
        self.hide_usage_header = hide_usage_header
        self.by = by


class Takes:
    """What an API says of how many tokens a request takes.

    `caps`: members that say how long an answer may be; the first is written where the client gave none. `default`: what vLLM
    takes then, None: all that is left of the context; 0: it refuses the request. `within`: the object they stand in.
    `ids`: members that may be lists of token ids. `repeated`: members that are read with each of the inputs; `whole`: all
    of the body is. `each`: tokens that are generated for every input. `history`: the member by which a prompt begins
    with what vLLM remembers. `sound`: a form with a sound file. `bounded` False: nothing says how much it will take.
    """

    __slots__ = ("bounded", "caps", "default", "each", "history", "ids", "repeated", "sound", "whole", "within")

    def __init__(
        self,
        caps: tuple[str, ...] = (),
        default: int | None = None,
        within: str = "",
        ids: tuple[str, ...] = (),
        repeated: tuple[str, ...] = (),
        whole: bool = False,
        each: int = 0,
        history: str = "",
        sound: bool = False,
        bounded: bool = True,
    ) -> None:
        self.caps = caps
        self.default = default
        self.within = within
        self.ids = ids
        self.repeated = repeated
        self.whole = whole
        self.each = each
        self.history = history
        self.sound = sound
        self.bounded = bounded


class Dialect(Protocol):
    """One API of vLLM. `takes`: see `proxy.dialects.takes`."""

    name: str
    takes: Takes

    def read(self, asked: Asked) -> Call:
        """Understand a request and rebuild its body for vLLM. Raises BadRequestError."""

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer: a stream of events or one object."""
