"""What a deploy finds to do, told by what runs and what is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import Background, Realtime
from agents.catalog import Catalog
from agents.library.echo import Echo
from deployments import up as module
from deployments.carrying import Carried
from deployments.changes import UNFINISHED, Changes, changes
from deployments.codemark import agent_marks, code_mark
from deployments.settings import Settings
from deployments.state import Running, StateFolder
from deployments.up import Order

ECHO = {"echo": "agents.library.echo:Echo"}


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where code is looked for: a folder with one file."""
    (tmp_path / "shop.py").write_text("price = 1\n")
    monkeypatch.setattr(module, "python_path", lambda: [tmp_path])
    return tmp_path


def found(
    path: Path, agents: dict[str, str] | None = None, record: Any = (), carried: Carried | None = None, **tables: Any
) -> Changes:
    """What a deploy would find where echo runs with the default settings, unless the record says otherwise."""
    marks = agent_marks(Catalog.load(ECHO.values()))
    there = {
        "cluster": "c",
        "url": "u",
        "address": "a",
        "logs": "l",
        "store": "s",
        "pid": 7,
        "agents": ECHO,
        "marks": marks,
        "code": code_mark([path]),
        "settings": Settings().model_dump(exclude={"agents"}),
        **dict(record),
    }
    named = ECHO if agents is None else agents
    order = Order(StateFolder(path / "state"), Settings.model_validate(tables), named, carried=carried or Carried())
    return changes(Running(**there), order, Catalog.load(named.values()))


def test_a_second_deploy_has_nothing_to_do(path: Path) -> None:
    assert not found(path)
    assert found(path).lines == []


def test_after_a_deploy_that_did_not_end_all_is_done_even_where_nothing_is_another(path: Path) -> None:
    there = {**ECHO, "half": "shop:Half"}

    unfinished = found(path, record={"code": UNFINISHED, "agents": there})

    assert unfinished.lines == ["~ echo (the deploy before did not end)", "- half"]
    assert unfinished.ledger
    assert unfinished.pool


def test_agents_come_and_go_by_name(path: Path) -> None:
    one = found(path, {"support": "agents.library.support:Support"})

    assert (one.added, one.changed, one.removed) == (("support",), (), ("echo",))
    assert one.lines == ["+ support", "- echo"]


def test_an_agent_that_declares_something_else_is_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = agent_marks(Catalog.load(ECHO.values()))
    monkeypatch.setattr(Echo, "background", Background(slots=3))

    assert found(path, record={"marks": marks}).changed == ("echo",)


def test_other_code_is_another_version_of_everything(path: Path) -> None:
    code = code_mark([path])
    (path / "shop.py").write_text("price = 2\n")

    one = found(path, record={"code": code})
    assert one.code
    assert one.lines == ["~ echo (the code is another)"]


def test_what_does_not_run_is_no_code(path: Path) -> None:
    before = code_mark([path])
    for name in ("notes.txt", ".venv/lib/x.py", "__pycache__/x.py", "node_modules/x.py"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("x = 1\n")

    assert code_mark([path]) == before


def test_a_file_that_is_renamed_is_other_code(path: Path) -> None:
    before = code_mark([path])
    (path / "shop.py").rename(path / "shops.py")

    assert code_mark([path]) != before


def test_a_setting_that_is_another_is_named_and_one_that_stays_as_it_was_started_says_so(path: Path) -> None:
    one = found(path, serve={"port": 9000, "input_bytes": 10})

    assert one.settings == ("serve.input_bytes: 1048576 -> 10",)
    assert one.fixed == ("serve.port: 8000 -> 9000",)
    assert one.lines[-1] == "serve.port: 8000 -> 9000  (only by `down` and `up`)"


def test_another_package_is_other_code(path: Path) -> None:
    one = found(path, carried=Carried(code="1"))

    assert one.lines == ["~ echo (the code is another)"]


def test_a_secret_with_another_value_is_another_environment_and_no_value_is_told(path: Path) -> None:
    carried = Carried(secrets={"KEY": "hush"}, digests={"KEY": "2", "NEW": "3"}, around="b")
    one = found(path, record={"runtime": "a", "secrets": {"KEY": "1"}}, carried=carried)

    assert one.code
    assert one.lines == ["~ echo (its environment is another)", "runtime.secrets: KEY has another value"]
    assert "hush" not in repr(one)


@pytest.mark.parametrize(
    ("changed", "ledger", "pool"),
    [
        ({}, False, False),
        ({"serve": {"input_bytes": 10}}, False, False),
        ({"store": {"takeover": "when_ready"}}, False, False),
        ({"retention": {"ended_after": 1}}, True, False),
        ({"pool": {"idle": 5}}, False, True),
        ({"runtime": {"env": {"A": "1"}}}, False, True),
    ],
)
def test_the_ledger_and_the_pool_change_hands_only_where_settings_of_theirs_are_others(
    path: Path, changed: Any, ledger: bool, pool: bool
) -> None:
    one = found(path, **changed)

    assert (one.ledger, one.pool) == (ledger, pool)


@pytest.mark.parametrize(
    ("attribute", "policy", "hands"),
    [
        ("realtime", Realtime(slots=3), False),
        ("background", Background(slots=3), True),
        ("background", None, True),
        ("version", "another", True),
    ],
)
def test_or_what_their_agents_declare_for_the_background(
    path: Path, monkeypatch: pytest.MonkeyPatch, attribute: str, policy: Any, hands: bool
) -> None:
    marks = agent_marks(Catalog.load(ECHO.values()))
    monkeypatch.setattr(Echo, attribute, policy)

    one = found(path, record={"marks": marks})

    assert (one.changed, one.ledger, one.pool) == (("echo",), hands, hands)


def test_agents_that_come_and_go_without_a_background_are_none_of_their_business(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = found(path, record={"agents": {}, "marks": {}})
    assert (came.ledger, came.pool) == (True, True)
    gone = found(path, {})
    assert (gone.ledger, gone.pool) == (True, True)

    monkeypatch.setattr(Echo, "background", None)
    came = found(path, record={"agents": {}, "marks": {}})
    assert (came.added, came.ledger, came.pool) == (("echo",), False, False)


def test_other_code_changes_both_hands(path: Path) -> None:
    one = found(path, record={"code": "earlier"})

    assert (one.ledger, one.pool) == (True, True)
