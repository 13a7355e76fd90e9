"""The images: each installs the requirements of its extras alone, and those suffice."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import compose
from tests.servers import ROOT

UV = shutil.which("uv") or str(ROOT / ".tools" / "uv" / "bin" / "uv")
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PACKAGES = {"proxy": "proxy", "stream": "stream", "api": "billing_api"}
FOREIGN = {
    "proxy": {"faust-streaming", "fastapi", "sqlalchemy", "chdb", "clickhouse-connect"},
    "stream": {"mitmproxy", "fastapi", "sqlalchemy", "chdb"},
    "api": {"mitmproxy", "faust-streaming", "aiokafka", "chdb"},
    "migrate": {"mitmproxy", "chdb"},
}
"""What only other services need."""


def extras(service: str) -> list[str]:
    found: list[str] = compose.own()[service]["build"]["args"]["EXTRAS"].split()
    return found


def test_requirements_are_those_of_the_extras_and_of_the_extras_they_name() -> None:
    command = [sys.executable, "deploy/requirements.py", "sim", "cli"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {re.split(r"[<>=\[ ;]", line)[0] for line in lines}
    assert {"httptools", "typer", "msgspec", "structlog"} <= names
    assert not names & {"mitmproxy", "fastapi", "weighbridge"}
    assert len(lines) == len(set(lines))


def test_an_extra_that_is_none_is_named() -> None:
    command = [sys.executable, "deploy/requirements.py", "proxi"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no extra 'proxi'" in done.stderr


def test_dockerfile_runs_as_nobody_in_particular_and_in_exec_form() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    images = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert images == ["ghcr.io/astral-sh/uv:0.13.8", "${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]
    assert "ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm" in lines
    assert "USER 10001:10001" in lines
    assert 'ENTRYPOINT ["weighbridge"]' in lines
    copied = [word for line in lines if line.startswith("COPY deploy") for word in line.split()[1:-1]]
    assert all((ROOT / name).is_file() for name in copied)


def test_uv_is_the_one_that_the_makefile_installs() -> None:
    assert "uv==0.13.8" in (ROOT / "tools" / "uv.txt").read_text()


def test_the_build_sees_all_packages_of_the_wheel() -> None:
    allowed = {
        line[1:] for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    wheel = re.search(r"packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
    assert wheel is not None
    assert set(re.findall(r'"(\w+)"', wheel[1])) <= allowed


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path(UV).exists(), reason="uv is not installed")
@pytest.mark.parametrize("service", compose.own())
def test_the_extras_suffice(service: str, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    path = f"{Path(UV).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHON": sys.executable}
    subprocess.run(["deploy/install.sh", str(venv), *extras(service)], cwd=ROOT, env=environment, check=True)
    python = [str(venv / "bin" / "python")]
    if service in PACKAGES:
        subprocess.run([*python, "-c", f"import {PACKAGES[service]}.service"], cwd=ROOT, check=True)
    else:
        subprocess.run([*python, "-c", "import billing_api.migrate, stream.migrate"], cwd=ROOT, check=True)
    helped = subprocess.run(
        [*python, "-m", "cli", service, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert helped.returncode == 0, helped.stderr
    listed = subprocess.run(
        [UV, "pip", "list", "--python", python[0]], capture_output=True, text=True, check=True
    ).stdout
    installed = {line.split()[0] for line in listed.splitlines()[2:]}
    assert not installed & FOREIGN[service]
