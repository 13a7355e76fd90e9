"""Run vLLM's own API server, and write down what its engine did for each request: a count that owes nothing to usage.

    python engine_log.py LOG --model … (the flags of `vllm.entrypoints.openai.api_server`), with the interpreter that vLLM is in

`vllm:prompt_tokens_total` and `vllm:generation_tokens_total` grow in one place, where the server takes what the engine sends it
after each step. The same numbers are written here, by request, one line of JSON a step; times are of `time.monotonic`:

    {"at": 12.5, "prompt": {"chatcmpl-…": 17}, "tokens": {"chatcmpl-…": 1}, "late": {"cmpl-…": 1}}
    {"at": 12.6, "stopped": ["chatcmpl-…"]}
    {"id": "resp_…", "asked": "…"}

`late` came for a request that was stopped before: the engine did it, its counters leave it out. `asked` is the prompt of a
response, whose id says nothing of the request that it came with.
"""

import runpy
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import msgspec
from vllm.v1.engine.output_processor import OutputProcessor  # type: ignore[import-not-found]


def log_to(out: IO[bytes]) -> None:
    """Have the server's output processor write what passes it."""
    begin, take, stop = OutputProcessor.add_request, OutputProcessor.process_outputs, OutputProcessor.abort_requests

    def write(**members: Any) -> None:
        out.write(msgspec.json.encode(members) + b"\n")
        out.flush()

    def add_request(self: Any, request: Any, *rest: Any, **named: Any) -> None:
        if request.external_req_id.startswith("resp_"):
            write(id=request.request_id, asked=self.tokenizer.decode(request.prompt_token_ids))
        begin(self, request, *rest, **named)

    def process_outputs(self: Any, outputs: list[Any], *rest: Any, **named: Any) -> Any:
        known = [output for output in outputs if output.request_id in self.request_states]
        prompt = {
            output.request_id: output.prefill_stats.num_prompt_tokens
            for output in known
            if output.prefill_stats is not None and self.request_states[output.request_id].is_prefilling
        }
        tokens = {output.request_id: len(output.new_token_ids) for output in known}
        late = {output.request_id: len(output.new_token_ids) for output in outputs if output.request_id not in tokens}
        write(at=time.monotonic(), prompt=prompt, tokens=tokens, late=late)
        return take(self, outputs, *rest, **named)

    def abort_requests(self: Any, names: Iterable[str], internal: bool) -> list[str]:
        stopped: list[str] = stop(self, names, internal)
        write(at=time.monotonic(), stopped=stopped)
        return stopped

    OutputProcessor.add_request = add_request
    OutputProcessor.process_outputs = process_outputs
    OutputProcessor.abort_requests = abort_requests


if __name__ == "__main__":  # the engine is a process of its own, which imports this file again
    log_to(Path(sys.argv.pop(1)).open("wb"))  # noqa: SIM115, for as long as the server runs
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
