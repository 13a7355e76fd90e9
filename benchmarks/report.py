"""The table, and what one must know to read it."""

import platform
import re
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.contestants import CHUNKS, GAP
from benchmarks.measure import CONCURRENCY, Plan, Result

GOALS = {"rate": 0.25, "cpu_per_event": 2.0, "resident": 150e6}
"""Of nginx's rate at least; of nginx's CPU for an event at most; bytes at most."""


def table(results: list[Result]) -> str:
    """Return the results as Markdown, each beside its ratio to nginx."""
    baseline = next(result for result in results if result.name == "nginx")
    direct = next(result for result in results if result.name == "no proxy")
    rows = [
        f"| | requests/s, c={CONCURRENCY} | × nginx | new connections/s | × nginx | added p50, c=1 | p99, c={CONCURRENCY} "
        f"| CPU a request | CPU an event | × nginx | first event | resident |",
        "| --- |" + " ---: |" * 11,
    ]
    rows += [_row(result, baseline, direct) for result in results]
    return "\n".join(rows)


def _row(result: Result, baseline: Result, direct: Result) -> str:
    cells = [
        result.name,
        f"{result.rate:,.0f}",
        f"{result.rate / baseline.rate:.2f}",
        f"{result.connections:,.0f}",
        f"{result.connections / baseline.connections:.2f}",
        "–" if result is direct else f"{(result.p50_alone - direct.p50_alone) * 1e3:.2f} ms",
        f"{result.p99 * 1e3:.2f} ms",
        _micro(result.cpu_per_request),
        _micro(result.cpu_per_event),
        "–" if not result.cpu_per_event else f"{result.cpu_per_event / (baseline.cpu_per_event or 1):.2f}",
        f"{result.first_event * 1e3:.1f} ms",
        "–" if result.resident is None else f"{result.resident / 1e6:.0f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def _micro(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e6:.1f} µs"


def verdicts(results: list[Result]) -> list[str]:
    """Return one line for each goal: met or missed, and by how much."""
    ours = next(result for result in results if result.name == "weighbridge")
    baseline = next(result for result in results if result.name == "nginx")
    rate = ours.rate / baseline.rate
    event = (ours.cpu_per_event or 0) / (baseline.cpu_per_event or 1)
    resident = ours.resident or 0
    return [
        f"- requests/s ≥ {GOALS['rate']} × nginx: {_verdict(rate >= GOALS['rate'])} ({rate:.2f})",
        f"- CPU an event ≤ {GOALS['cpu_per_event']:.0f} × nginx: {_verdict(event <= GOALS['cpu_per_event'])} ({event:.2f})",
        f"- resident ≤ {GOALS['resident'] / 1e6:.0f} MB: {_verdict(resident <= GOALS['resident'])} ({resident / 1e6:.0f} MB)",
    ]


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def machine(before: float) -> list[str]:
    """Return what was measured on and with; `before` is the load average of the last minute before it began."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len([line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")])
    return [
        f"- {cores} cores ({cpu[1] if cpu else platform.machine()}), Linux {platform.release()}, "
        f"Python {platform.python_version()}",
        f"- load average before the measurements: {before:.1f}",
        f"- {_said('nginx', '-v')}, {_said('wrk', '-v')}, mitmproxy {version('mitmproxy')}, uvloop {version('uvloop')}, "
        f"weighbridge at {_said('git', 'rev-parse', '--short', 'HEAD')}",
    ]


def _said(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    first = (ran.stdout + ran.stderr).strip().splitlines()[0]
    return first.removeprefix("nginx version: ").split(" Copyright")[0].split(" [")[0].strip()


PAGE = """\
# Benchmarks

Written by `make bench`. All contestants stand in front of the same fast upstream on the same machine, one after the
other in one run, so the ratios say more than the figures: load, upstream and all that a proxy needs share its cores.
The proxy runs as in production, with one worker: a key is looked up, both events of a request are written to the
spool, published to Kafka and acknowledged; broker, Redis and the reader of the events run on this machine too. nginx
has one worker and passes everything on without a look.

{table}

Whole answers: {rounds} × {seconds} s of `wrk -t1 -c{concurrency}`, the best. *New connections*: the same with
`Connection: close`. *Added p50*: the median at one connection, less that of the upstream itself. Streams:
{concurrency} at a time, {chunks} events each, one every {gap:.0f} ms; *CPU an event* is user and system time of the
proxy's processes over the events that clients received. CPU counts until a proxy is quiet again. *Resident* is after
all of this, mapped files included and shared pages counted once.

Goals:

{verdicts}

Machine:

{machine}
- measured {now:%Y-%m-%d %H:%M} UTC
"""

TRIED = """
## What was tried and what it gave

CPU of the worker process, short runs; other programs ran on the machine, so a few per cent are noise.

- The event of an admitted request is its opening, too: two records a request instead of three. 2.4 of 66 µs a
  request, by the profile.
- Events are published from memory (512 KB), and read back only when they wait for longer. With the record less: an
  event of a stream from 15.7 to 12.7 µs, in single runs.
- Fewer collections of garbage (`gc.set_threshold`), or none at all: less than 1 µs a request; not kept.
- Usage cut out of an event by `find` instead of a regular expression: 0.1 µs of 13 an event; not kept.

Of an event's CPU more than half is reading, writing and waiting for sockets. Of a request's, about 40 µs are our own
code between the two sockets, with no single place that takes more than a tenth: 325,000 instructions by callgrind,
which repeats to the digit on a busy machine too (the first run after a change compiles byte code: leave it out).

Tried after that table, on another and slower machine (nginx 30,000 to 42,000 requests/s there), so only ratios in one
run count:

- Plain classes in place of msgspec's structs on the request path, both records of a request built once and not filled
  in bit by bit, the envelope's form written once. Kept. What came meanwhile (trusted proxies, browsers, trace ids,
  fields that are looked for in bodies) costs more than this saved: 368,000 instructions a request, and 0.10 x nginx
  where the code of the table read 0.14.
- 25 modules of the request path compiled with mypyc 2.4 as they stand: 1.4 and 1.8 times the requests/s of the same
  code uncompiled in two runs (4,308 and 5,633 against 3,098 and 3,108; nginx 31,145 and 32,756, so 0.14 and 0.17 x
  nginx), 190 to 250 µs of CPU a request in place of 340. Not built in yet. What it takes: structs that are decoded must
  stand in modules that are not compiled (their annotations are lost); a slice of bytes whose end lies before its start
  raises SystemError; an attribute that a call in between may change must not be narrowed before it; tests must not
  replace methods, nor constants. The building takes a C compiler and half a minute. Of what remains more than half is
  work inside the interpreter's own library: making objects, hashing and comparing names, looking attributes up on
  structs. Events, headers and the spool's checksum are the largest parts.
- Debian's interpreter (built with profiles) in place of one built without: 4 %.
"""


def page(results: list[Result], plan: Plan, before: float, now: datetime) -> str:
    """Return docs/benchmarks.md."""
    measured = PAGE.format(
        table=table(results),
        rounds=plan.rounds,
        seconds=plan.seconds,
        concurrency=CONCURRENCY,
        chunks=CHUNKS,
        gap=GAP * 1e3,
        verdicts="\n".join(verdicts(results)),
        machine="\n".join(machine(before)),
        now=now,
    )
    return measured + TRIED
