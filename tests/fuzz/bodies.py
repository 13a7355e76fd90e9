"""Bodies: what goes upstream says to vLLM's own readers of JSON what was metered, and nothing untrusted.

These are Python's and pydantic's.
The first byte of an input picks the path. A body that these readers refuse has nothing to say: vLLM answers it with 400. Each
is read twice: held, and in pieces as a large one is (`proxy.streamed`).
"""

import json  # noqa: TID251  # the reference: how vLLM reads a body
from typing import Any

import pydantic_core

from proxy.dialects import table
from proxy.dialects.base import Asked, BadRequestError, Call, Dialect
from proxy.dialects.body import UNTRUSTED
from proxy.streamed import bodies as streamed
from tests.fuzz.cuts import cut
from tests.fuzz.engine import drive

SALT = "5a17"
LIMIT = 1 << 16
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/chat/completions/batch",
    "/v1/responses",
    "/v1/messages",
    "/inference/v1/generate",
    "/invocations",
    "/v1/embeddings",
    "/score",
    "/cohere/v2/chat",
    "/v1/messages/count_tokens",
    "/v2/embed",
    "/tokenize",
)
_BODIES = [
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"n":2,"stream_options":{"include_usage":false}}',
    b'{"model":"m","prompt":["a","b"],"n":3,"stream":false,"user":"u"}',
    b'{"model":"m","prompt":[[1,2],[3]],"prompt_embeds":["x"]}',
    b'{"model":"m","messages":[[{"role":"user"}],[]],"priority":-1,"cache_salt":"other","request_id":"r"}',
    b'{"model":"m","input":[{"content":[{"type":"input_image","uuid":"a"}],"output":[{"u\\u0075id":1}]}],"stream":true}',
    b'{"model":"m","messages":[{"content":[{"uuid":"a","type":"image_url"}]}],"metadata":{"user_id":"u"},"max_tokens":1}',
    b'{"token_ids":[1],"sampling_params":{"n":2,"extra_args":{}},"content_parts":[{"uuid":"x"}],"stream":true}',
    b'{"model":"m","input":["a","b"],"session_id":"s","vllm_xargs":{}}',
    b'{"model":"m","queries":"q","documents":[{"content":[{"uuid":"x"}]}],"encoding_format":"float"}',
    b'{"model":"a","model":"b"}',
    b'{"mod\\u0065l":"b"}',
    b'{"model":null,"stream":null,"n":null}',
    b'{"model":7,"n":1e0,"stream":"true"}',
    b'{"n":' + b"9" * 400 + b"}",
    b'{"x":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"model":"\\ud800","x":"\x00\xc3\xa9\xff"}',
    b' { "model" : "m" , "n" : 2 }\n',
    b'{"model":"m","mod\\ude050l6":1,"messages":[{"\\ud800":2}],"texts":[{"u\\udc00id":3}]}',
]
CORPUS = [bytes([index]) + body for index in range(len(PATHS)) for body in _BODIES]


def check(data: bytes) -> None:
    """Read a body as the path does that its first byte names."""
    path, body = PATHS[data[0] % len(PATHS)] if data else PATHS[0], data[1:]
    found = table.find(path.encode())
    assert found is not None
    assert found[0].dialect is not None
    for way in (held, in_pieces):
        try:
            call, out = way(found[0].dialect, path, body)
        except BadRequestError:
            continue
        for read in (python, pydantic):
            sent = read(out)
            if sent is not None:
                compare(path, call, sent)


def held(dialect: Dialect, path: str, body: bytes) -> tuple[Call, bytes]:
    """Return what is metered, and what vLLM gets. Raises BadRequestError."""
    call = dialect.read(Asked(body, SALT))
    return call, call.body


def in_pieces(dialect: Dialect, path: str, body: bytes) -> tuple[Call, bytes]:
    """Do the same with a body that is passed on as it comes."""
    passing = streamed.body(path, b"application/json", LIMIT)
    out = b"".join([passing.feed(piece) for piece in cut(body)])
    call = dialect.read(Asked(passing.rest(), SALT))
    return call, out + passing.tail(call.body)


def python(body: bytes) -> dict[str, Any] | None:
    """Return an object as FastAPI reads it, None if it refuses. Raises AssertionError for a name twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            members[_TWICE] = True
        return members

    try:
        sent = json.loads(body, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None
    assert isinstance(sent, dict)
    assert _TWICE not in sent, "a member twice: two readers may believe another one"
    return sent


_TWICE = "\x00twice"


def pydantic(body: bytes) -> dict[str, Any] | None:
    """Return an object as pydantic reads it, None if it refuses."""
    try:
        sent = pydantic_core.from_json(body)
    except ValueError:
        return None
    assert isinstance(sent, dict)
    return sent


def compare(path: str, call: Call, sent: dict[str, Any]) -> None:
    """Compare what vLLM reads with what was metered. Raises AssertionError."""
    assert sent.get("model") == call.model, sent
    if path not in _NEVER_STREAM:
        assert (sent.get("stream") or False) is call.stream, sent
    if path in _CHOICES and call.by is None:
        options = sent["sampling_params"] if "generate" in path else sent
        choices = options.get("n") if options.get("n") is not None else 1
        assert type(choices) is int
        assert call.choices == choices * call.inputs, sent
        if path == "/v1/completions":
            assert call.inputs == max(1, sum(prompts(sent.get(name)) for name in ("prompt", "prompt_embeds"))), sent
        if call.stream:
            usage = sent["stream_options"]
            assert usage["include_usage"] is usage["continuous_usage_stats"] is True, sent
    assert sent.get("cache_salt") == (None if path in _UNSALTED else SALT)
    own = {"cache_salt", "request_id"} if path == "/v1/responses" else {"cache_salt"}
    assert (UNTRUSTED - own).isdisjoint(sent), sent
    if path in ("/v1/chat/completions", "/v1/chat/completions/batch"):
        assert not named(sent.get("messages")), sent
    if path == "/v1/responses":
        assert not named(sent.get("input")), sent
        assert sent["request_id"].startswith("resp_")


_NEVER_STREAM = (
    "/v1/chat/completions/batch",
    "/v1/embeddings",
    "/score",
    "/invocations",
    "/v1/messages/count_tokens",
    "/v2/embed",
    "/tokenize",
)
_UNSALTED = ("/cohere/v2/chat", "/v2/embed", "/v1/messages/count_tokens", "/tokenize")
_CHOICES = ("/v1/chat/completions", "/v1/completions", "/inference/v1/generate")


def prompts(given: Any) -> int:
    """Return how many prompts vLLM makes of a member."""
    if given is None:
        return 0
    if not isinstance(given, list):
        return 1
    numbers = bool(given) and isinstance(given[0], int | float) and not isinstance(given[0], bool)
    return 1 if numbers else len(given)


def named(given: Any) -> bool:
    """Return whether a part of content carries a name."""
    if isinstance(given, list):
        return any(map(named, given))
    if isinstance(given, dict):
        return "uuid" in given or named(given.get("content")) or named(given.get("output"))
    return False


if __name__ == "__main__":
    drive(
        check,
        CORPUS,
        (
            "proxy.dialects.body",
            "proxy.dialects.generation",
            "proxy.dialects.media",
            "proxy.dialects.completions",
            "proxy.streamed.json_body",
            "proxy.streamed.lexer",
        ),
        [b'"%b":' % name.encode() for name in (*UNTRUSTED, "model", "stream", "n", "messages", "content", "uuid")],
    )
