"""The documents tell the truth about names: files and tests that they point to exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "deploy" / "README.md",
]
WRITTEN_BY_THE_READER = {"deploy/compose.env"}
PACKAGES = "contracts|proxy|stream|billing_api|dashboards|embedded|sim|cli|deploy|benchmarks|tests|tools|docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_named_exists(page):
    named = re.findall(rf"`((?:{PACKAGES})/[\w./-]+)(?:::\w+)?`", page.read_text())
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    missing = [name for name in {*named} - WRITTEN_BY_THE_READER if not (ROOT / name).exists()]
    missing += [name for name in linked if not (page.parent / name).exists()]
    assert not missing


def test_every_promise_names_tests_that_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "promises.md").read_text())
    assert len(named) > 15
    missing = [f"{path}::{name}" for path, name in named if name not in defined(ROOT / path)]
    assert not missing


def defined(path: Path) -> set[str]:
    """Return the names at the top of a module."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_the_folders_of_the_readme_are_those_of_the_repository():
    house = (ROOT / "README.md").read_text().split("## The house")[1]
    named = set(re.findall(r"^    (\w+)/ ", house, re.MULTILINE))
    there = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    assert named == there
