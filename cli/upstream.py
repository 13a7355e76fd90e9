"""A look at a vLLM server, with the key that it wants."""

from typing import Final

import httpx
import msgspec
from pydantic import SecretStr

from contracts.settings import Settings

UNKNOWN_MODEL: Final = "MODEL"
KEY_VARIABLE: Final = "WEIGHBRIDGE_UPSTREAM_API_KEY"


class UpstreamSettings(Settings):
    """The key that vLLM wants, if it wants one."""

    upstream_api_key: SecretStr | None = None


def ask_models(upstream: str, key: SecretStr | None) -> httpx.Response:
    """Return what a vLLM server answers when asked for its models; raises httpx.HTTPError."""
    headers = {} if key is None else {b"authorization": b"Bearer " + key.get_secret_value().encode()}
    return httpx.get(f"{upstream}/v1/models", headers=headers, timeout=5)


def served_model(upstream: str, key: SecretStr | None) -> tuple[str, str | None]:
    """Return the first model that a vLLM server serves, or a name to fill in and what is amiss with the server."""
    try:
        answer = ask_models(upstream, key)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return UNKNOWN_MODEL, refusal(key)
        if not answer.is_success:
            return UNKNOWN_MODEL, f"answers {answer.status_code} to /v1/models; is it vLLM?"
        return str(msgspec.json.decode(answer.content)["data"][0]["id"]), None
    except httpx.HTTPError:
        return UNKNOWN_MODEL, "does not answer yet; requests get 502 until it does."
    except (msgspec.DecodeError, LookupError, TypeError):
        return UNKNOWN_MODEL, "names no model at /v1/models; is it vLLM?"


def refusal(key: SecretStr | None) -> str:
    """Say what to do about a vLLM that answers 401 to this key, or to none."""
    if key is None:
        return f"asks for a key: set {KEY_VARIABLE} to what vLLM was started with as --api-key, and start again"
    return f"refuses the key in {KEY_VARIABLE}: set it to what vLLM was started with as --api-key, and start again"
