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
- Events are published from memory, and read back only when they wait for longer. With the record less: an
  event of a stream from 15.7 to 12.7 µs, in single runs.
- Fewer collections of garbage (`gc.set_threshold`): less than 1 µs of 66 a request as source, 3 % compiled. Kept then.
- Usage cut out of an event by `find` instead of a regular expression: 0.1 µs of 13 an event; not kept.

Tried after that, on slower machines (nginx 28,000 to 42,000 requests/s there), so only ratios in one run count. In a
request's instructions, which callgrind counts to the digit on a busy machine too:

- Plain classes in place of msgspec's structs on the request path, both records of a request built once. Kept; what came
  meanwhile (trusted proxies, browsers, trace ids, fields that are looked for in bodies) cost more than it saved: 0.10 x
  nginx.
- **Heads that were read before are recognised** by their bytes, and neither parsed nor written again
  (`proxy/lane/habit.py`): 30 % of the CPU between the two sockets. Kept.
- **The request path compiled with mypyc** (`make compiled`; the images have it): 1.5 times the requests/s of the same
  code as source (0.219 against 0.144 x nginx in one run). Kept. What it takes: structs that are decoded stand in modules
  of their own, for compiling loses their annotations; no slice of bytes may end before its start; types are checked when
  the program runs, overriding ones too; tests that replace names in modules (`source`) run on the sources only.
- **Segments of the spool are allocated, not filled with zeros.** Filled, they stood in the page cache in large folios:
  each sync wrote the whole folio and took the right to write from all its pages, and 4.5 % of the CPU went into faults of
  the event loop. A record's store went from 4.5 to 2.5 µs in a test of its own, the 99th percentile from 25 to 6 µs.
- Envelopes joined from parts made once for a tenant, Kafka records packed by compiled code, one reading of the clock for
  an answer that comes whole, a search for escapes that begins with one byte: 0.227 to 0.263 x nginx together. Kept.
- Debian's interpreter (built with profiles) in place of one built without: 4 %. Not our choice to make.

After that, by samples of the stack of a worker under load (`perf record --call-graph dwarf`):

- **2 MB of events stay in memory until they are sent**, in place of 512 KB: at full load two groups did not fit, and 4.6 % of
  the CPU went into reading back from the spool what had just been written. Kept.
- **A group is synced and sent every 50 ms**, in place of 20: each round costs about the same, however much is in it. Kept.
- `x in data`, with bytes, first raises and forgets an exception (it asks whether `x` is a number): `find` in its place,
  2,000 instructions each. Kept, as were fewer arguments to the struct of a record (their number counts squared), counts of
  tokens as plain classes, and an encoder called without a function of ours in between: 151,000 to 141,000 instructions.
- Huge pages for the heap (`MADV_COLLAPSE`): nothing that could be told from noise.

The same build started several times on that machine read from 0.20 to 0.26 x nginx, once 0.30, each start the same
for as long as it ran: a difference of less than a fifth between two builds needs several starts of each.

What remains of a request, compiled: 141,000 instructions in our process, a third of them for its two events (encoding,
envelope, checksum, spool), a sixth for the body (decoded, checked, written anew), a tenth for the answer's usage; about
30 µs are the kernel's, as of every proxy, and publishing takes a tenth of the CPU.
"""


def page(found: dict[str, Findings], before: float, now: datetime) -> str:
    """Return docs/benchmarks.md."""
    measured = PAGE.format(
        verdicts="\n".join(verdicts(found)), machine="\n".join(machine(before)), now=now, sections=sections(found)
    )
    return measured + TRIED
