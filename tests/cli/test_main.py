"""What holds for every command: help with an example, errors in one line, exit statuses."""

import subprocess
import sys

import pytest
import typer

from cli.catalogue import CATALOGUE
from tests.servers import ROOT


def every_command():
    for name, entry in CATALOGUE.items():
        loaded = entry.load()
        if isinstance(loaded, typer.Typer):
            for command in loaded.registered_commands:
                yield (name, command.name or getattr(command.callback, "__name__", ""))
        else:
            yield (name,)


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_has_help_with_an_example(weighbridge, words):
    ran = weighbridge(*words, "--help")
    assert ran.status == 0
    assert f"Example: weighbridge {' '.join(words)}" in " ".join(ran.out.split())


def test_the_list_names_every_command(weighbridge):
    ran = weighbridge("--help")
    assert ran.status == 0
    for name in CATALOGUE:
        assert f" {name} " in ran.out


@pytest.mark.parametrize(
    "words", [("nothing",), ("tenant", "nothing"), ("up", "--nothing"), ("tenant", "show"), ("usage", "--most", "none")]
)
def test_wrong_use_is_status_2(weighbridge, words):
    ran = weighbridge(*words)
    assert ran.status == 2
    assert ran.err


def test_a_group_alone_prints_its_help(weighbridge):
    ran = weighbridge("tenant")
    assert ran.status == 2
    assert "create" in ran.out + ran.err


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m cli sim --help | head -1"
    ran = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stderr == ""


def test_one_service_loads_no_other(tmp_path):
    code = (
        "import sys; sys.argv = ['weighbridge', 'sim', '--capacity', 'x']\n"
        "from cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'httpx', 'rich', 'mitmproxy', 'faust', 'fastapi', 'sqlalchemy', 'chdb'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.strip() == "[]"
