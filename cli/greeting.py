"""What `up` says when all runs: where everything is, and commands that work from here."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

import typer
from pydantic import SecretStr

from cli.client import DATA_DIR
from cli.upstream import served_model
from embedded import plan
from embedded.folder import Demo

NAME: Final = "weighbridge"


def greet(choices: plan.Choices, demo: Demo, upstream_key: SecretStr | None) -> None:
    """Say where everything is, what is amiss with the upstream, and which commands to try."""
    said = plan.endpoints(choices, demo.key, {})
    model, amiss = served_model(choices.targets[0], upstream_key)
    say = typer.echo
    say("Weighbridge runs. Stop it with Ctrl-C.\n")
    for proxy, target in zip(said["proxies"], choices.targets, strict=True):
        say(f"  proxy    {proxy}/v1  in front of {target}{' (simulated)' if choices.simulated else ''}")
    say(f"  API      {said['api']}/docs")
    say(f"  key      {demo.key}")
    say(f"  data     {choices.data} (logs, endpoints.json)\n")
    if amiss is not None:
        say(f"{choices.targets[0]} {amiss}")
    say(
        f"curl {said['proxy']}/v1/chat/completions -H 'Authorization: Bearer {demo.key}' -H 'Content-Type: application/json' "
        f"""-d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'"""
    )
    elsewhere = ["--data-dir", str(choices.data)] if choices.data != DATA_DIR.resolve() else []
    say(f"\nThen: {shlex.join([*this_command(), 'usage', *elsewhere])}")


def this_command() -> list[str]:
    """Return the words that run `weighbridge` from the current folder: its name when the shell finds it, else its path."""
    if shutil.which(NAME) is not None:
        return [NAME]
    python = Path(sys.executable)
    script = python.with_name(NAME)
    return [_from_here(script)] if script.exists() else [_from_here(python), "-m", "cli"]


def _from_here(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
