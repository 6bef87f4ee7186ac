"""`./rubato keys`, and the key that every command calls with, against a real HTTP server that asks for one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cluster.apikeys import id_of
from deployments.cli.app import main
from tests.deployments.whole import Whole, whole

pytestmark = pytest.mark.slow


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Rubato = Callable[..., Ended]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Whole]:
    with whole(tmp_path, guarded=True) as running:
        yield running


@pytest.fixture
def rubato(running: Whole, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Rubato:
    """Runs a command against the Rubato that runs, with this key."""
    monkeypatch.setenv("RUBATO_URL", running.url)

    def run(*arguments: str, key: str = "") -> Ended:
        monkeypatch.setenv("RUBATO_KEY", key)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


def until(met: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not met():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture
def admin(rubato: Rubato) -> str:
    """The first key."""
    scopes = [part for scope in ("run", "submit", "admin") for part in ("--scope", scope)]
    key = rubato("keys", "create", "first", *scopes).out.strip()
    until(lambda: rubato("tasks", key=key).code == 0 and rubato("tasks").code == 1)
    return key


def test_the_first_key_must_be_an_admins(rubato: Rubato) -> None:
    ended = rubato("keys", "create", "mine")

    assert (ended.code, ended.out) == (1, "")
    assert "scope admin" in ended.err


def test_a_key_that_is_created_is_printed_and_lets_its_holder_in(rubato: Rubato, admin: str) -> None:
    made = rubato(
        "keys", "create", "ci", "--scope", "run", "--tenant", "acme", "--days", "1", "--rate", "9/1", key=admin
    )

    key = made.out.strip()
    id = id_of(key)
    assert made.code == 0
    assert str(id) in made.err
    assert key not in made.err
    until(lambda: rubato("tasks", key=key).code == 0)
    assert rubato("run", "parrot", '{"text": "hi"}', key=key).json == {"text": "HI"}
    refused = rubato("submit", "parrot", '{"text": "hi"}', key=key)
    assert refused.code == 1
    assert "submit" in refused.err
    listed = rubato("keys", "--json", key=admin).json
    assert [(found["name"], found["tenant"], found["scopes"]) for found in listed] == [
        ("ci", "acme", ["run"]),
        ("first", "", ["run", "submit", "admin"]),
    ]
    assert listed[0]["rate"] == {"count": 9, "seconds": 1.0}


def test_a_key_that_is_revoked_lets_nobody_in_and_is_listed_so(rubato: Rubato, admin: str) -> None:
    made = rubato("keys", "create", "ci", "--json", key=admin).json
    until(lambda: rubato("tasks", key=made["key"]).code == 0)

    revoked = rubato("keys", "revoke", made["id"], key=admin)

    assert revoked.code == 0
    assert "revoked" in revoked.err
    until(lambda: rubato("tasks", key=made["key"]).code == 1)
    heading, line, _ = rubato("keys", "list", key=admin).out.splitlines()
    assert heading.split() == ["ID", "NAME", "TENANT", "SCOPES", "CREATED", "STATE"]
    assert "revoked" in line
    assert "run,submit" in line


def test_without_a_key_a_command_says_what_to_do(rubato: Rubato, admin: str) -> None:
    none, wrong = rubato("tasks"), rubato("tasks", key="rbt_wrong")

    assert (none.code, wrong.code) == (1, 1)
    assert "RUBATO_KEY, which is not set" in none.err
    assert "the key in RUBATO_KEY" in wrong.err
    assert "rbt_wrong" not in wrong.err


@pytest.mark.parametrize("key", ["schlüssel", "a\nb"])
def test_what_cannot_be_sent_as_a_key_is_wrong_usage(rubato: Rubato, key: str) -> None:
    ended = rubato("tasks", key=key)

    assert ended.code == 2
    assert key not in ended.err


@pytest.mark.parametrize("rate", ["fast", "10", "10/", "/1", "-1/1"])
def test_a_rate_that_is_none_is_wrong_usage(rubato: Rubato, rate: str) -> None:
    ended = rubato("keys", "create", "ci", f"--rate={rate}")

    assert (ended.code, ended.out) == (2, "")
    assert "COUNT/SECONDS" in ended.err


def test_an_option_before_the_command_is_refused(rubato: Rubato) -> None:
    ended = rubato("keys", "--json", "create", "ci")

    assert ended.code == 2
    assert "--json goes behind create" in ended.err
