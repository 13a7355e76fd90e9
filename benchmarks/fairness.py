"""Shows what the fair queue does, beside first come first served: the real proxy, in front of the simulator, at four times
what that can take. Writes docs/fairness.md and its pictures.

uv run --group plots python -m benchmarks.fairness            some eight minutes
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fairness_page import page, pictures
from benchmarks.processes import HOST, ROOT, free_port, listens, started
from benchmarks.tenants import MOST_TOKENS, Tenant, load
from benchmarks.weighbridge import Customer, weighbridge

CAPACITY = 32
FIRST_TOKEN = 0.5
TOKENS_PER_SECOND = 40.0
REQUEST_SECONDS = FIRST_TOKEN + (1 + MOST_TOKENS) / 2 / TOKENS_PER_SECOND
FULL = CAPACITY / REQUEST_SECONDS
"""Requests a second that the simulator can take."""
LOAD = 4.0
NO_QUEUE = "1000000"
"""A capacity that is never reached: all requests go to the server, which serves them as they come."""
WAYS = {"fair queue": str(CAPACITY), "capacity learned": "0", "first come first served": NO_QUEUE}


@dataclass
class Found:
    """What was measured, by way of queueing."""

    alone: Tenant
    small: dict[str, Tenant] = field(default_factory=dict)
    large: dict[str, Tenant] = field(default_factory=dict)
    heavy: dict[str, Tenant] = field(default_factory=dict)
    light: dict[str, Tenant] = field(default_factory=dict)


def main() -> int:
    """Return the exit status: 0 measured, 1 something did not work."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description="Show what the fair queue does.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder to write to")
    flags = parser.parse_args()
    try:
        found = measure(flags.seconds)
    except RuntimeError as error:
        print(f"fairness: {error}", file=sys.stderr)
        return 1
    pictures(found, flags.seconds, flags.out)
    setting = {"capacity": CAPACITY, "first_token": FIRST_TOKEN, "speed": TOKENS_PER_SECOND, "most": MOST_TOKENS}
    rule, heading, _ = (ROOT / "docs" / "fairness.md").read_text().partition("\n## What it does\n")
    (flags.out / "fairness.md").write_text(f"{rule}{heading}\n{page(found, flags.seconds, setting)}")
    return 0


def measure(seconds: float) -> Found:
    """Run every load, one after the other."""
    small = FULL * LOAD / 51
    found = Found(_run("alone", str(CAPACITY), seconds, {"small": small})["small"])
    for way, capacity in WAYS.items():
        tenants = _run(way, capacity, seconds, {"small": small, "large": 50 * small})
        found.small[way], found.large[way] = tenants["small"], tenants["large"]
    for way in ("fair queue", "first come first served"):
        tenants = _run(way, WAYS[way], seconds, {"heavy": FULL * LOAD / 2, "light": FULL * LOAD / 2})
        found.heavy[way], found.light[way] = tenants["heavy"], tenants["light"]
    return found


def _run(way: str, capacity: str, seconds: float, rates: dict[str, float]) -> dict[str, Tenant]:
    print(f"{way}: {', '.join(rates)} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="weighbridge-fairness-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        customers = {name: Customer(f"ten_{name}", 300 if name == "heavy" else 100) for name in rates}
        with (
            _simulator(folder) as target,
            weighbridge(folder, target, customers=customers.values(), WEIGHBRIDGE_CAPACITY=capacity) as proxy,
        ):
            tenants = {name: Tenant(name, customers[name].key, rate) for name, rate in rates.items()}
            asyncio.run(load(proxy.port, tenants.values(), seconds))
    return tenants


@contextmanager
def _simulator(folder: Path) -> Iterator[int]:
    port = free_port()
    settings = {
        "WEIGHBRIDGE_SIM_LISTEN": f"{HOST}:{port}",
        "WEIGHBRIDGE_SIM_CAPACITY": str(CAPACITY),
        "WEIGHBRIDGE_SIM_TTFT_SECONDS": str(FIRST_TOKEN),
        "WEIGHBRIDGE_SIM_TOKENS_PER_SECOND": str(TOKENS_PER_SECOND),
    }
    with started([sys.executable, "-m", "cli", "sim"], folder / "sim.log", lambda: listens(port), settings):
        yield port


if __name__ == "__main__":
    sys.exit(main())
