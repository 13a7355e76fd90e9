"""The page: what was found, what it had to be, and what one must know to read it."""

import platform
import re
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.findings import Findings
from benchmarks.weighbridge import is_compiled


def sections(found: dict[str, Findings]) -> str:
    """Return what was found as Markdown, a heading for each title."""
    return "\n\n".join(f"## {title}\n\n{findings.text}" for title, findings in found.items())


def verdicts(found: dict[str, Findings]) -> list[str]:
    """Return one line for each goal: met, missed or not measured, and the figure."""
    return [goal.line() for findings in found.values() for goal in findings.goals]


def machine(before: float) -> list[str]:
    """Return what was measured on and with; `before` is the load average of the last minute before it began."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len([line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")])
    return [
        f"- {cores} cores ({cpu[1] if cpu else platform.machine()}), Linux {platform.release()}, "
        f"Python {platform.python_version()}",
        f"- load average before the measurements: {before:.1f}",
        f"- {_said('nginx', '-v')}, {_said('wrk', '-v')}, mitmproxy {version('mitmproxy')}, uvloop {version('uvloop')}, "
        f"weighbridge at {_said('git', 'rev-parse', '--short', 'HEAD')}, {'compiled' if is_compiled() else 'as source'}",
    ]


def _said(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    first = (ran.stdout + ran.stderr).strip().splitlines()[0]
    return first.removeprefix("nginx version: ").split(" Copyright")[0].split(" [")[0].strip()


PAGE = """\
# Benchmarks

Written by `make bench`. All contestants stand in front of the same fast upstream on the same machine, one after the
other in one run, so the ratios say more than the figures: load, upstream and all that a proxy needs share its cores.
The proxy runs as in production, with one worker unless said: a key is looked up, both events of a request are written
to the spool, published to Kafka and acknowledged; broker, Redis and the reader of the events run on this machine too.
nginx has one worker and passes everything on without a look. CPU counts until a proxy is quiet again. *Resident* memory
is that of all its processes, mapped files included and shared pages counted once.

Goals:

{verdicts}

Machine:

{machine}
- measured {now:%Y-%m-%d %H:%M} UTC

{sections}
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


def page(found: dict[str, Findings], before: float, now: datetime) -> str:
    """Return docs/benchmarks.md."""
    measured = PAGE.format(
        verdicts="\n".join(verdicts(found)), machine="\n".join(machine(before)), now=now, sections=sections(found)
    )
    return measured + TRIED
