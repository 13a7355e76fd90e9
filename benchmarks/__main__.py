"""Measures, prints the table and writes docs/benchmarks.md.

python -m benchmarks            a few minutes, on a machine that does nothing else
python -m benchmarks --quick    half a minute, to see that it works; writes nothing unless --out says where
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import contestants
from benchmarks.contestants import Contestant
from benchmarks.load import LoadError
from benchmarks.measure import Plan, Result, measure
from benchmarks.report import page, table, verdicts
from contracts.clock import utc_now

DOCUMENT = contestants.ROOT / "docs" / "benchmarks.md"
Start = Callable[[Path, int], AbstractContextManager[Contestant]]
FIELD: dict[str, Start] = {
    "nginx": contestants.nginx,
    "weighbridge": contestants.weighbridge,
    "mitmdump": contestants.mitmdump,
}


def main() -> int:
    """Return the exit status: 0 measured, 1 something did not work, 2 a program is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the proxy beside others.")
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--only", choices=[*FIELD], action="append", help="leave the others out (writes no document)")
    parser.add_argument("--out", type=Path, help=f"where to write (default: {DOCUMENT.relative_to(contestants.ROOT)})")
    flags = parser.parse_args()
    missing = [program for program in ("nginx", "wrk") if shutil.which(program) is None]
    if missing:
        print(
            f"benchmarks: {' and '.join(missing)} not found; install with: apt-get install nginx wrk", file=sys.stderr
        )
        return 2
    plan = Plan.quick() if flags.quick else Plan()
    before = os.getloadavg()[0]
    try:
        results = list(run(plan, flags.only or [*FIELD]))
    except (LoadError, RuntimeError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    if flags.only:
        print(*results, sep="\n")
        return 0
    print(table(results), *verdicts(results), sep="\n")
    out = flags.out or (None if flags.quick else DOCUMENT)
    if out is not None:
        out.write_text(page(results, plan, before, utc_now()))
    return 0


def run(plan: Plan, names: list[str]) -> Iterator[Result]:
    """Measure the upstream alone, then one contestant after the other."""
    with tempfile.TemporaryDirectory(prefix="weighbridge-bench-") as name, contestants.upstream(Path(name)) as direct:
        yield _measured(direct, plan)
        for each in names:
            with FIELD[each](Path(name), direct.port) as contestant:
                yield _measured(contestant, plan)


def _measured(contestant: Contestant, plan: Plan) -> Result:
    print(f"measuring {contestant.name} …", file=sys.stderr, flush=True)
    return measure(contestant, plan)


if __name__ == "__main__":
    sys.exit(main())
