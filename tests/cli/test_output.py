"""Tables for people, tabs for pipes, JSON for programs."""

from typing import Any

from cli.output import print_record, print_rows

ROWS: list[dict[str, Any]] = [
    {"id": "a", "n": 1, "tags": {"x": "y"}, "none": None},
    {"id": "b", "n": None, "list": ["p", "q"]},
]


def test_a_pipe_gets_tabs_and_only_columns_with_values(capsys):
    print_rows(ROWS, ("id", "n", "tags", "none", "list"), as_json=False)
    assert capsys.readouterr().out == "id\tn\ttags\tlist\na\t1\tx=y\t\nb\t\t\tp, q\n"


def test_a_terminal_gets_an_aligned_table(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    print_rows(ROWS, ("id", "n"), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["id", "n"], ["a", "1"], ["b"]]
    assert "\t" not in lines[0]


def test_no_rows_still_name_the_columns(capsys):
    print_rows([], ("id", "n"), as_json=False)
    assert capsys.readouterr().out == "id\tn\n"


def test_a_record_leaves_out_what_is_absent_and_keeps_zero(capsys):
    print_record({"id": "a", "zero": 0, "no": False, "none": None, "empty": []}, as_json=False)
    assert capsys.readouterr().out == "id\ta\nzero\t0\nno\tfalse\n"


def test_json_is_whole(capsys):
    print_record({"id": "a", "none": None}, as_json=True)
    assert capsys.readouterr().out == '{\n  "id": "a",\n  "none": null\n}\n'
