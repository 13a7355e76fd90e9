"""`vllm bench serve` through the proxy and direct: with the proxy on a core of its own, and with all on all cores."""

import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import psutil

from benchmarks.findings import Findings, Goal, table
from benchmarks.load import LoadError
from benchmarks.processes import HOST, ROOT, free_port, started
from benchmarks.stand import Stand
from benchmarks.weighbridge import weighbridge

VENV: Final = Path(os.environ.get("WEIGHBRIDGE_TEST_VLLM_VENV", ROOT / ".venv-vllm"))
MODEL: Final = Path(os.environ.get("WEIGHBRIDGE_TEST_VLLM_MODEL", VENV / "tiny"))
CLIENT: Final = Path(__file__).with_name("vllm_client.py")
CONCURRENCY, INPUT, OUTPUT = 16, 64, 64
OWN_CORE, SHARED = "a core of its own", "sharing all cores"
LEAST: Final = {OWN_CORE: 0.98, SHARED: 0.95}
QUIET: Final = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}


class Outcome(msgspec.Struct):
    """Of what `vllm bench serve` writes, what counts."""

    completed: int
    failed: int
    total_token_throughput: float


@dataclass(frozen=True)
class Pair:
    """Tokens a second in the rounds of one arrangement."""

    cores: str
    direct: list[float]
    proxied: list[float]

    @property
    def ratio(self) -> float:
        """Return the median through the proxy over the median of direct ones."""
        return median(self.proxied) / median(self.direct)


def run(stand: Stand) -> Findings:
    """Measure both arrangements; without vLLM, say so."""
    missing = next((str(path) for path in (VENV / "bin/python", MODEL / "config.json") if not path.exists()), None)
    cores = sorted(os.sched_getaffinity(0))
    if missing is None and len(cores) < 2:
        missing = "second core"
    if missing is not None:
        goals = [
            Goal(f"`vllm bench serve`, proxy {name}", "≥", least, " × direct", None) for name, least in LEAST.items()
        ]
        return Findings(f"Left out: there is no {missing}. `make test-vllm` installs vLLM (5 GB).", goals)
    results = []
    with vllm(stand.folder) as (port, process):
        own, rest = {cores[-1]}, set(cores[:-1])
        for name, ours, others in ((OWN_CORE, own, rest), (SHARED, set(cores), set(cores))):
            place(process, others)
            with on(ours), stand.running(weighbridge, port) as proxy:
                urls = [f"http://{HOST}:{each}" for each in (port, proxy.port)]
                rounds = serve(stand, urls, proxy.key, others)
            results.append(Pair(name, rounds[2::2], rounds[3::2]))  # the first of each warms it
    return tell(results, stand.plan.prompts)


@contextmanager
def vllm(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A vLLM server with a model so small that the engine takes no longer than HTTP does: the hardest case for a proxy."""
    port = free_port()
    flags = {
        "--model": str(MODEL),
        "--served-model-name": "tiny",
        "--load-format": "dummy",
        "--dtype": "bfloat16",
        "--max-model-len": "2048",
        "--max-num-seqs": "64",
        "--host": HOST,
        "--port": str(port),
    }
    command = [str(VENV / "bin/python"), "-m", "vllm.entrypoints.openai.api_server"]
    command += [*(word for flag in flags.items() for word in flag), "--enforce-eager"]
    environment = {
        **QUIET,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }
    with started(command, folder / "vllm.log", lambda: _healthy(port), environment) as process:
        yield port, psutil.Process(process.pid)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


def place(process: psutil.Process, cores: set[int]) -> None:
    """Let all threads of a process and of its children run on these cores alone, as `taskset -a -p` does."""
    for each in (process, *process.children(recursive=True)):
        for thread in each.threads():
            os.sched_setaffinity(thread.id, cores)


@contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """What is started in the block runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def serve(stand: Stand, urls: list[str], key: str, cores: set[int]) -> list[float]:
    """Run `vllm bench serve` on each address in turn, once more than there are rounds; return tokens a second."""
    folder = stand.folder / "vllm-bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    flags = {
        "--backend": "openai-chat",
        "--endpoint": "/v1/chat/completions",
        "--model": "tiny",
        "--tokenizer": str(MODEL),
        "--dataset-name": "random",
        "--random-input-len": str(INPUT),
        "--random-output-len": str(OUTPUT),
        "--num-prompts": str(stand.plan.prompts),
        "--max-concurrency": str(CONCURRENCY),
        "--ready-check-timeout-sec": "0",
    }
    addresses = urls * (stand.plan.rounds + 1)
    command = [str(VENV / "bin/python"), str(CLIENT), str(folder), *addresses, "--", "--ignore-eos", "--save-result"]
    command += ["--disable-tqdm", *(word for flag in flags.items() for word in flag)]
    environment = {**os.environ, **QUIET, "OPENAI_API_KEY": key}
    with on(cores):
        ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise LoadError(f"`vllm bench serve` failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
    return [_throughput(folder / f"{number}.json", stand.plan.prompts) for number in range(len(addresses))]


def _throughput(file: Path, prompts: int) -> float:
    outcome = msgspec.json.decode(file.read_bytes(), type=Outcome)
    if outcome.completed != prompts or outcome.failed:
        raise LoadError(f"`vllm bench serve` lost requests: {outcome}")
    return outcome.total_token_throughput


def tell(results: list[Pair], prompts: int) -> Findings:
    """Return the table and the goals."""
    rows = [
        [each.cores, f"{median(each.direct):,.0f}", f"{median(each.proxied):,.0f}", f"{each.ratio:.3f}"]
        for each in results
    ]
    rounds = len(results[0].direct)
    text = (
        f"Real vLLM with a model of two layers on the CPU; {prompts} prompts of {INPUT} tokens, {OUTPUT} tokens generated\n"
        f"for each, {CONCURRENCY} at a time; direct and through the proxy in turn, the median of {rounds}. *A core of its\n"
        "own*: the proxy, with its broker and its Redis, on one core; vLLM and the client on the others, direct as well.\n"
        "*Sharing*: all on all cores."
    )
    goals = [
        Goal(f"`vllm bench serve`, proxy {each.cores}", "≥", LEAST[each.cores], " × direct", each.ratio)
        for each in results
    ]
    return Findings(
        f"{table(['the proxy has', 'tokens/s direct', 'through the proxy', '× direct'], rows)}\n\n{text}", goals
    )
