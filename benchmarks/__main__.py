"""Measures, prints what was found and writes docs/benchmarks.md.

python -m benchmarks            some eight minutes, on a machine that does nothing else
python -m benchmarks --only streams,workers     these alone; writes nothing unless --out says where
python -m benchmarks --only revocation          writes docs/revocation.md
python -m benchmarks --quick    to see that it works; writes nothing unless --out says where
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from benchmarks import (
    contestants,
    growth,
    half_load,
    open_streams,
    real_vllm,
    revocation,
    slow_reader,
    streaming,
    throughput,
    workers,
)
from benchmarks.contestants import Start
from benchmarks.findings import Findings
from benchmarks.load import LoadError
from benchmarks.processes import ROOT
from benchmarks.report import machine, page, sections, verdicts
from benchmarks.stand import Part, Plan, Stand
from contracts.clock import utc_now

DOCUMENT: Final = ROOT / "docs" / "benchmarks.md"
REVOCATION: Final = ROOT / "docs" / "revocation.md"
PARTS: Final[dict[str, tuple[str, Part]]] = {
    "requests": ("Whole answers", throughput.run),
    "half-load": ("Latency at half load", half_load.run),
    "streams": ("Streams", streaming.run),
    "open-streams": ("Memory of open streams", open_streams.run),
    "slow-reader": ("A client that reads nothing", slow_reader.run),
    "growth": ("Memory over many requests", growth.run),
    "workers": ("Two workers", workers.run),
    "revocation": ("Revocation", revocation.run),
    "vllm": ("`vllm bench serve`", real_vllm.run),
}
OTHERS: Final[dict[str, Start]] = {"mitmdump": contestants.mitmdump}


def main() -> int:
    """Return the exit status: 0 measured, 1 something did not work, 2 a program is missing."""
    flags = _flags()
    missing = [program for program in ("nginx", "wrk") if shutil.which(program) is None]
    if missing:
        print(
            f"benchmarks: {' and '.join(missing)} not found; install with: apt-get install nginx wrk", file=sys.stderr
        )
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # also for all that is started here
    before = os.getloadavg()[0]
    try:
        found = run(Plan.quick() if flags.quick else Plan(), flags.only, flags.beside)
    except (LoadError, RuntimeError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(sections(found), *verdicts(found), sep="\n")
    out = flags.out or (None if flags.quick or len(found) < len(PARTS) else DOCUMENT)
    if out is not None:
        out.write_text(page(found, before, utc_now()))
    revoked = found.get(PARTS["revocation"][0])
    if revoked is not None and not flags.quick:
        REVOCATION.write_text(revocation.page(revoked, machine(before)))
    return 0


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the proxy beside others.")
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument(
        "--only", type=_names(PARTS), default=[*PARTS], help=f"measure these alone, of: {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--beside", type=_names(OTHERS), default=[*OTHERS], help=f"beside nginx, of: {', '.join(OTHERS)}"
    )
    parser.add_argument("--out", type=Path, help=f"where to write (default: {DOCUMENT.relative_to(ROOT)})")
    return parser.parse_args()


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        given = [name for name in text.split(",") if name]
        unknown = set(given) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return given

    return names


def run(plan: Plan, names: list[str], others: list[str]) -> dict[str, Findings]:
    """Measure one part after the other; returns what was found under each part's title."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="weighbridge-bench-", ignore_cleanup_errors=True) as folder:
        stand = Stand(Path(folder), plan, {name: OTHERS[name] for name in others})
        for name in names:
            title, part = PARTS[name]
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            found[title] = part(stand)
    return found


if __name__ == "__main__":
    sys.exit(main())
