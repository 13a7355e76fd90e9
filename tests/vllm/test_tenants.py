"""What one tenant has put into vLLM's prefix cache, no other tenant finds there."""

import httpx
import pytest

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

TEXT = "Every tenant pays for its own words. " * 40
BODIES: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": TEXT}]},
    "/v1/completions": {"prompt": TEXT},
    "/v1/responses": {"input": TEXT},
    "/v1/messages": {"messages": [{"role": "user", "content": TEXT}]},
}
LIMITS = {"/v1/responses": "max_output_tokens"}


def cached(system, key: str, path: str, **more: object) -> int:
    """Ask once; return how many tokens of the prompt vLLM took from its cache."""
    body = {"model": "tiny", LIMITS.get(path, "max_tokens"): 2, **BODIES[path], **more}
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx.post(system.endpoints["proxy"] + path, json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    usage = answer.json()["usage"]
    if path == "/v1/messages":
        return usage.get("cache_read_input_tokens") or 0
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    return (details or {}).get("cached_tokens") or 0


@pytest.mark.parametrize("path", BODIES)
def test_a_tenant_finds_its_own_prefixes_alone(system, path):
    (_, first), (_, second) = system.key(f"first of {path}"), system.key(f"second of {path}")
    cached(system, first, path)
    assert cached(system, first, path) > 0
    assert cached(system, second, path) == 0
    assert cached(system, second, path) > 0, "it has its own by now"
    assert cached(system, second, path, cache_salt="of its own choice") > 0, "a salt of the client's is replaced"
