"""docs/agents.md says nothing that does not run."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agents import Agent
from agents.catalog import faults

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
FENCE = re.compile(r"```(\w*)")


def python_of(text: str) -> str:
    """The page's python blocks as one module, each line where it stands on the page."""
    lines, language = [], None
    for line in text.splitlines():
        fence = FENCE.match(line)
        lines.append(line if language == "python" and not fence else "")
        if fence:
            language = None if language is not None else fence[1]
    assert language is None, "the last block is open"
    return "\n".join(lines)


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page as a module; that it can be imported is the test of every block that asserts on its own."""
    path = tmp_path_factory.mktemp("docs") / "documented.py"
    path.write_text(python_of(PAGE.read_text()))
    spec = importlib.util.spec_from_file_location("documented", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["documented"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["documented"]


def named_tests() -> list[str]:
    return re.findall(r"^async def (test_\w+)", python_of(PAGE.read_text()), re.MULTILINE)


@pytest.mark.parametrize("name", named_tests())
async def test_each_test_on_the_page_passes(documented: ModuleType, name: str, tmp_path: Path) -> None:
    test = getattr(documented, name)

    await test(*([tmp_path] if inspect.signature(test).parameters else []))


def agents_on(page: ModuleType) -> list[type[Agent[Any, Any]]]:
    return [
        each for each in vars(page).values() if inspect.isclass(each) and issubclass(each, Agent) and each is not Agent
    ]


def test_each_agent_on_the_page_could_be_served(documented: ModuleType) -> None:
    found = agents_on(documented)

    assert len(found) >= 6
    assert {each.__name__: faults(each) for each in found} == {each.__name__: [] for each in found}


def test_each_agent_on_the_page_is_run_by_a_test_on_the_page(documented: ModuleType) -> None:
    text = "".join(inspect.getsource(getattr(documented, name)) for name in named_tests())

    assert [each.__name__ for each in agents_on(documented) if f"{each.__name__}()" not in text] == []


def test_only_python_and_shell_stand_on_the_page() -> None:
    opened = FENCE.findall(PAGE.read_text())[::2]

    assert set(opened) == {"python", "sh"}
    assert opened.count("python") >= 8
