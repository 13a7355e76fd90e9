"""vLLM's errors, in its three shapes and its words: OpenAI's object, a bare string for a wrong key, FastAPI's `detail`."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

UNAUTHORIZED: Final = b'{"error":"Unauthorized"}'
NOT_FOUND: Final = b'{"detail":"Not Found"}'
METHOD_NOT_ALLOWED: Final = b'{"detail":"Method Not Allowed"}'


class ApiError(Exception):
    """An answer in OpenAI's shape: `status`, and `body` as vLLM writes it.

    `early` tells that the body was refused before the endpoint saw it: vLLM then answers in OpenAI's shape on every path.
    """

    def __init__(
        self,
        message: str,
        kind: str = "BadRequestError",
        param: str | None = None,
        status: int = 400,
        *,
        early: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.status = status
        self.early = early
        self.body = msgspec.json.encode(
            {"error": {"message": message, "type": kind, "param": param, "code": status}}, order=None
        )


Shape = Callable[[ApiError], bytes]
"""Writes an error as one API has it."""


def openai(error: ApiError) -> bytes:
    """Return the error as OpenAI's APIs have it."""
    return error.body


def anthropic(error: ApiError) -> bytes:
    """Return the error as Anthropic's API has it, but for one that vLLM finds before it knows whose API was asked."""
    if error.early:
        return error.body
    return msgspec.json.encode({"type": "error", "error": {"type": error.kind, "message": error.message}})


def cohere(error: ApiError) -> bytes:
    """Return the error as Cohere's API has it."""
    return msgspec.json.encode({"message": error.message})


def invalid(message: str, param: str, value: object = msgspec.UNSET) -> ApiError:
    """Return vLLM's error for a value that a parameter cannot have."""
    shown = "" if value is msgspec.UNSET else f", value={value}"
    return ApiError(f"{message} (parameter={param}{shown})", param=param)


def internal() -> ApiError:
    """Return the error of an engine that failed."""
    return ApiError("Internal server error", "InternalServerError", status=500)


def unknown_model(model: str, served: tuple[str, ...]) -> ApiError:
    """Return the error for a model that is not served."""
    message = f"The model `{model}` does not exist. Valid aliases: {', '.join(served)}."
    return ApiError(message, "NotFoundError", "model", 404)


def unsupported_media_type() -> ApiError:
    """Return the error for a body that does not say it is JSON."""
    message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
    return ApiError(message, "Bad Request", early=True)


def malformed(body: bytes, reason: str) -> ApiError:
    """Return the error for a body that is no JSON; `reason` is the decoder's, which may say at which byte."""
    place = re.search(r"\(byte (\d+)\)", reason)
    location = f"body.{place[1] if place else len(body)}"
    detail = "{'type': 'json_invalid', 'loc': '%s', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', "
    detail += "'ctx': {'error': 'Expecting value'}}"
    return ApiError(f"1 validation error:\n  {detail % location}", "Bad Request", location, early=True)


_PARSED: Final = {
    "int": ("int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
    "float": ("float_parsing", "Input should be a valid number, unable to parse string as a number"),
    "bool": ("bool_parsing", "Input should be a valid boolean, unable to interpret input"),
}


def mistyped(body: Any, reason: str) -> ApiError:
    """Return pydantic's error for a body of the wrong type or with a field missing or mistyped, from msgspec's words."""
    if not isinstance(body, dict):
        text = "Input should be a valid dictionary or object to extract fields from"
        return _validation("model_attributes_type", "body", text, body)
    missing = re.search(r"missing required field `(\w+)`(?: - at `\$\.?(.*)`)?", reason)
    if missing:
        inner = f"{missing[2]}." if missing[2] else ""
        return _validation("missing", f"body.{inner}{missing[1]}", "Field required", body)
    expected = re.search(r"Expected `(\w+)", reason)
    place = re.search(r"at `\$\.(\w+)", reason)
    field = place[1] if place else ""
    kind, text = _PARSED.get(expected[1] if expected else "", ("value_error", reason.split(" - at ", maxsplit=1)[0]))
    return _validation(kind, f"body.{field}", text, body.get(field))


def _validation(kind: str, location: str, text: str, given: Any) -> ApiError:
    shown = f"'<{type(given).__name__} of {len(given)} items>'" if isinstance(given, dict | list) else repr(given)
    detail = f"{{'type': '{kind}', 'loc': '{location}', 'msg': '{text}', 'input': {shown}}}"
    return ApiError(f"1 validation error:\n  {detail}", "Bad Request", location, early=True)
