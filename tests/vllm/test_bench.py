"""vLLM's own benchmark client, with nothing but its address and key changed."""

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.vllm.conftest import MODEL_FOLDER, VENV
from tests.vllm.test_usage import growth, settled_usage

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

PROMPTS, SIZE = 50, 12


def bench(base: str, key: str, folder: Path, backend: str, endpoint: str) -> dict[str, Any]:
    """Run `vllm bench serve`; return what it saw."""
    given = {
        "--base-url": base,
        "--backend": backend,
        "--endpoint": endpoint,
        "--model": "tiny",
        "--tokenizer": str(MODEL_FOLDER),
        "--dataset-name": "random",
        "--random-input-len": "40",
        "--random-output-len": str(SIZE),
        "--num-prompts": str(PROMPTS),
        "--max-concurrency": "8",
        "--result-dir": str(folder),
        "--result-filename": "result.json",
        "--ready-check-timeout-sec": "0",  # it would be a request more
    }
    words = [word for flag in given.items() for word in flag]
    command = [str(VENV / "bin/python"), str(Path(__file__).with_name("bench_serve.py")), *words]
    environment = {**os.environ, "OPENAI_API_KEY": key, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    log = folder / "bench.log"
    with log.open("wb") as output:
        ended = subprocess.run(
            [*command, "--ignore-eos", "--save-result", "--disable-tqdm"],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            timeout=400,
            check=False,
        )
    assert ended.returncode == 0, log.read_text()[-3000:]
    return msgspec.json.decode((folder / "result.json").read_bytes(), type=dict[str, Any])


@pytest.mark.parametrize(
    ("backend", "endpoint"), [("openai", "/v1/completions"), ("openai-chat", "/v1/chat/completions")]
)
def test_vllm_bench_serve(vllm, system, tmp_path, backend, endpoint):
    tenant, key = system.key(f"Bench {backend}")
    before = vllm.counters()
    seen = bench(system.endpoints["proxy"], key, tmp_path, backend, endpoint)
    assert (seen["completed"], seen["failed"]) == (PROMPTS, 0), seen
    figures, counted = settled_usage(system, tenant, PROMPTS), growth(vllm, before)
    assert figures["requests"] == PROMPTS
    assert (figures["input_tokens"], figures["output_tokens"]) == (counted["prompt"], counted["generation"])
    assert figures["output_tokens"] == seen["total_output_tokens"] == PROMPTS * SIZE
    assert figures["input_tokens"] == seen["total_input_tokens"]
