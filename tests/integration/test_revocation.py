"""A key that the API revoked is refused by all workers because they are told, not because they ask again some day."""

import time

import httpx
import pytest

from proxy.key_directory import RECHECK_AFTER
from tests.system import System

TOLD = RECHECK_AFTER.total_seconds() / 2
"""Seconds: far more than being told takes on the slowest machine, and less than until workers ask by themselves."""
IN_A_ROW = 20
"""Refusals on new connections, which the kernel deals out among the workers."""

pytestmark = pytest.mark.timeout(400)


def status(system: System, key: str) -> int:
    body = {"model": "tiny", "prompt": "x", "max_tokens": 1}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(
        f"{system.endpoints['proxy']}/v1/completions", json=body, headers=headers, timeout=120
    ).status_code


def test_a_revoked_key_is_refused_by_every_worker_before_any_of_them_asks_again(system: System) -> None:
    tenant, _ = system.key("Revoked")
    with system.api() as api:
        for number in range(3):
            made = api.post("/v1/keys", json={"tenant": tenant, "name": f"{number}"}).raise_for_status().json()
            assert [status(system, made["secret"]) for _ in range(IN_A_ROW)] == [200] * IN_A_ROW
            api.post(f"/v1/keys/{made['id']}/revoke").raise_for_status()
            revoked, refused = time.monotonic(), 0
            while refused < IN_A_ROW:
                asked = time.monotonic()
                refused = refused + 1 if status(system, made["secret"]) == 401 else 0
                assert refused or asked - revoked < TOLD, "it is still let in"
