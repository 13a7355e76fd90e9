"""Print every route that a vLLM can serve, as JSON: path → its methods, sorted; see `tests/vllm/test_routes.py`.

Run by vLLM's own interpreter. The server's app is built without an engine, for a model that can do everything and with all
options that add routes, so that those are seen too which a plain server does not have or leaves out of its schema. Routes
that need a package which is not installed are read from the source.
"""

# This runs in an environment of vLLM's, not in ours.
# mypy: ignore-errors
# ruff: noqa: E402, TID251

import json
import os
import re
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

SWITCHES = ("VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_ENABLE_COHERE_API")
OPTIONS = ("enable_scale_out", "enable_tokenizer_info_endpoint", "enable_fault_tolerance", "enable_offline_docs")
os.environ.update(dict.fromkeys(SWITCHES, "1"), VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1")

import vllm
from starlette.routing import Mount, WebSocketRoute
from vllm.config import ProfilerConfig
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.tasks import FRONTEND_TASKS, GENERATION_TASKS, POOLING_TASKS
from vllm.utils.argparse_utils import FlexibleArgumentParser

DECLARED = re.compile(r'router\.(get|post|put|patch|delete|websocket)\(\s*"(/[^"]*)"')


def args(**changes: bool) -> SimpleNamespace:
    """Return the server's options with everything on, but for the changes."""
    found = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    found.profiler_config = ProfilerConfig(profiler="cuda")
    for option in OPTIONS:
        if not hasattr(found, option):
            sys.exit(f"this vLLM has no option {option}: look what became of it")
        setattr(found, option, changes.get(option, True))
    return found


def methods(route) -> set[str]:
    """Return what a route takes; a mounted app takes anything below its path."""
    if isinstance(route, WebSocketRoute):
        return {"WEBSOCKET"}
    return {"MOUNT"} if isinstance(route, Mount) else set(route.methods)


def main() -> None:
    """Print it."""
    found = defaultdict(set)
    model = SimpleNamespace(get_pooling_task=lambda tasks: "embed", hf_config=SimpleNamespace(num_labels=1))
    for options in (args(), args(enable_offline_docs=False)):
        app = build_app(options, (*GENERATION_TASKS, *POOLING_TASKS, *FRONTEND_TASKS), model)
        for route in app.routes:
            found[route.path] |= methods(route)  # a route without a path would hide others: better to fail
    for source in (Path(vllm.__file__).parent / "entrypoints").rglob("*.py"):
        for method, path in DECLARED.findall(source.read_text()):
            found[path].add(method.upper())
    routes = {path: sorted(found[path]) for path in sorted(found)}
    print(json.dumps({"vllm": vllm.__version__, "routes": routes}, indent=1))


if __name__ == "__main__":
    main()
