"""Real vLLM, and the whole system in front of it."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.servers import ROOT, free_port, listens, wait_until
from tests.system import System

VENV = Path(os.environ.get("WEIGHBRIDGE_TEST_VLLM_VENV", ROOT / ".venv-vllm"))
MODEL_FOLDER = Path(os.environ.get("WEIGHBRIDGE_TEST_VLLM_MODEL", VENV / "tiny"))
SERVER = Path(__file__).with_name("engine_log.py")
API_KEY = "the-engines-own-key"


class Vllm:
    """A vLLM server that serves the tiny model as `tiny`; `more`: further flags. `engine_log` says what its engine did."""

    def __init__(self, folder: Path, *more: str):
        self.port = free_port()
        self.url, self.key = f"http://127.0.0.1:{self.port}", API_KEY
        self.log, self.engine_log = folder / "vllm.log", folder / "engine.jsonl"
        flags = {
            "--model": str(MODEL_FOLDER),
            "--served-model-name": "tiny",
            "--load-format": "dummy",
            "--dtype": "bfloat16",
            "--max-model-len": "2048",
            "--max-num-seqs": "64",
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--api-key": API_KEY,
        }
        words = [word for flag in flags.items() for word in flag]
        command = [str(VENV / "bin/python"), str(SERVER), str(self.engine_log), *words]
        command += ["--enforce-eager", "--enable-prompt-tokens-details", *more]
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        environment["VLLM_ENABLE_RESPONSES_API_STORE"] = "1"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
        try:
            wait_until(self._ready, 500, f"vLLM to answer; its log: {self.log}")
        except TimeoutError:
            self.stop()
            raise

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"vLLM ended with {self.process.returncode}: {self.log.read_text()[-3000:]}")
        try:
            return listens(self.port) and httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def counters(self) -> dict[str, int]:
        """Return the engine's own counters once nothing runs any more: prompt and generated tokens since it started."""
        wait_until(
            lambda: self._read("vllm:num_requests_running") + self._read("vllm:num_requests_waiting") == 0, 60, "idle"
        )
        return {name: self._read(f"vllm:{name}_tokens_total") for name in ("prompt", "generation")}

    def _read(self, name: str) -> int:
        page = httpx.get(f"{self.url}/metrics", timeout=10).text
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in page.splitlines() if line.startswith(f"{name}{{"))

    def stop(self) -> None:
        """End it with all its processes."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The interpreter of vLLM's environment."""
    if not (VENV / "bin/python").exists():
        pytest.skip(f"no vLLM in {VENV}: run `make test-vllm`, which installs it")
    return VENV / "bin/python"


@pytest.fixture(scope="session")
def vllm(vllm_python, tmp_path_factory):
    server = Vllm(tmp_path_factory.mktemp("vllm"), "--enable-scale-out")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def embedder(vllm_python, tmp_path_factory):
    """A vLLM whose model embeds."""
    server = Vllm(tmp_path_factory.mktemp("embedder"), "--runner", "pooling")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def classifier(vllm_python, tmp_path_factory):
    """A vLLM whose model tells classes."""
    server = Vllm(tmp_path_factory.mktemp("classifier"), "--runner", "pooling", "--convert", "classify")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def system(vllm, tmp_path_factory):
    running = System(tmp_path_factory.mktemp("system"), vllm.url, {"WEIGHBRIDGE_UPSTREAM_API_KEY": vllm.key})
    yield running
    running.stop()
