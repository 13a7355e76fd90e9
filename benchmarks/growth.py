"""Whether memory is flat: what a hundred thousand further requests leave behind."""

from benchmarks.contestants import upstream
from benchmarks.findings import Findings, Goal, mega, table
from benchmarks.load import wrk
from benchmarks.processes import Contestant
from benchmarks.stand import Stand
from benchmarks.weighbridge import weighbridge

CONCURRENCY, SLICE_SECONDS = 32, 2
FLAT_MB = 1.0
"""Ten bytes a request: less than anything that is kept of one would take."""


def run(stand: Stand) -> Findings:
    """Send requests; look at the memory after the first ones, and after all."""
    places = []
    with upstream(stand.folder) as target, stand.running(weighbridge, target.port) as contestant:
        sent = 0
        for until in stand.plan.growth:
            sent = _send(contestant, sent, until)
            contestant.let_finish()
            places.append((sent, contestant.resident_bytes()))
    return tell(places)


def _send(contestant: Contestant, sent: int, until: int) -> int:
    while sent < until:
        sent += wrk(contestant.port, CONCURRENCY, SLICE_SECONDS, contestant.key).requests
    return sent


def tell(places: list[tuple[int, int]]) -> Findings:
    """Return the table and the goal; `places`: requests so far, and resident bytes then."""
    (first, before), (last, after) = places
    rows = [[f"after {sent:,} requests", mega(resident)] for sent, resident in places]
    goal = Goal(f"growth over {last - first:,} requests", "≤", FLAT_MB, " MB", (after - before) / 1e6)
    return Findings(table(["weighbridge", "resident"], rows), [goal])
