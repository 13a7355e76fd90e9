"""Header fields on their way through: which pass, which are ours. Order and case of those that pass are kept.

Fields are pairs of name and value, as they stood on the wire. What belongs to one connection is dropped here. A request's
framing is dropped too, and written anew by the lane; an answer's stays where it stands, for the lane to keep or change.
"""

from collections.abc import Mapping
from typing import Final

Headers = list[tuple[bytes, bytes]]

_HOP: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_UPSTREAM: Final = _HOP | {
    b"authorization",
    b"x-amzn-sagemaker-adapter-identifier",  # written into the body
    b"x-api-key",
    b"x-data-parallel-rank",
    b"x-request-id",
    b"x-session-id",
    b"x-vllm-priority",
}
_FRAMING: Final = {b"content-length", b"transfer-encoding", b"trailer"}
_NOT_DOWN: Final = (_HOP - _FRAMING) | {b"x-request-id"}
_NOT_METERED: Final = _NOT_UPSTREAM | {b"accept-encoding"}
_ROUTER: Final = frozenset({b"x-data-parallel-rank"})
_PRIVATE: Final = b"x-weighbridge-"


def to_upstream(
    headers: Headers,
    fields: Mapping[bytes, bytes],
    authorization: bytes | None,
    metered: bool,
    trusted: bool = False,
) -> Headers:
    """Return what vLLM gets: without the client's key and what is not a client's to say, with vLLM's own key.

    `fields` are the headers by lower-case name. `metered`: the answer will be read on its way, so it must not come
    compressed. `trusted`: a trusted proxy sent it, which may choose the rank.
    """
    dropped = _NOT_METERED if metered else _NOT_UPSTREAM
    if trusted:
        dropped = dropped - _ROUTER
    named = fields.get(b"connection")
    if named is not None:
        dropped = dropped | {
            option.strip().lower()
            for name, content in headers
            if name.lower() == b"connection"
            for option in content.split(b",")
        }
    if _PRIVATE in b" ".join(fields):
        dropped = dropped | {name for name in fields if name.startswith(_PRIVATE)}
    out = [field for field in headers if field[0].lower() not in dropped]
    if authorization is not None:
        out.append((b"authorization", authorization))
    return out


def to_client(headers: Headers) -> Headers:
    """Return what the client gets of an answer's fields: without what belongs to the connection, and an id that is not ours."""
    return [field for field in headers if field[0].lower() not in _NOT_DOWN]
