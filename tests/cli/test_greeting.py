"""The command that `up` prints."""

import sys

from cli.greeting import this_command


def test_the_printed_command_is_one_that_this_shell_finds(monkeypatch, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    assert this_command() == ["bin/python", "-m", "cli"]
    (folder / "weighbridge").touch()
    assert this_command() == ["bin/weighbridge"]
    (folder / "weighbridge").chmod(0o755)
    assert this_command() == ["weighbridge"]
