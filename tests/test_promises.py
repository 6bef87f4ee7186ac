"""The table of promises names tests that there are, and for each promise at least one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "promises.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("|---", "| promise |"))]
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


@cache
def defined_in(path: str) -> set[str]:
    """The names of the tests that a file defines, in classes too."""
    tree = ast.parse((TESTS / path).read_text())
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in found if node.name.startswith("test_")}


@pytest.mark.parametrize("row", ROWS)
def test_each_promise_names_tests_that_there_are(row: str) -> None:
    named = NAMED.findall(row)

    assert named, "no test holds it"
    assert len(named) == row.count("::"), "each is written as `file.py::test_name`"
    assert [f"{path}::{name}" for path, name in named if name not in defined_in(path)] == []


def test_the_files_that_the_page_names_are_there() -> None:
    files = re.findall(r"`([\w/]+\.py)`", PAGE)

    assert files
    assert [path for path in files if not (TESTS / path).exists()] == []
