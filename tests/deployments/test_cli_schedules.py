"""`./rubato schedules`, against a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from deployments.cli.app import main
from tests.deployments.whole import Whole, whole

pytestmark = pytest.mark.slow

PUT = ("put", "nightly", "parrot", '{"text": "good night"}', "--cron", "30 2 * * *", "--zone", "Europe/Berlin")


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Rubato = Callable[..., Ended]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("whole")) as running:
        yield running


@pytest.fixture
def rubato(running: Whole, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Rubato]:
    """Runs a command against the Rubato that runs; no schedule is left behind."""
    monkeypatch.setenv("RUBATO_URL", running.url)

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    yield run
    for found in run("schedules", "--json").json:
        run("schedules", "delete", found["name"])


def test_put_tells_the_next_times_and_the_list_shows_it(rubato: Rubato) -> None:
    ended = rubato("schedules", *PUT)

    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith("nightly is next at ")
    heading, line = rubato("schedules").out.splitlines()
    assert heading.split() == ["NAME", "AGENT", "CRON", "ZONE", "NEXT", "LAST"]
    assert line.split()[:8] == ["nightly", "parrot", "30", "2", "*", "*", "*", "Europe/Berlin"]


def test_what_is_asked_is_sent(rubato: Rubato) -> None:
    asked = ("--overlap", "queue_one", "--catch-up", "all", "--paused", "--priority", "2", "--tag", "a", "--tag", "b")
    more = ("--timeout", "9", "--max-attempts", "1", "--limit-key", "acme", "--json")

    found = rubato("schedules", *PUT, *asked, *more).json

    assert (found["overlap"], found["catch_up"], found["paused"]) == ("queue_one", "all", True)
    options = {"priority": 2, "timeout": 9.0, "max_attempts": 1, "retry": None, "limit_key": "acme", "tags": ["a", "b"]}
    options |= {"market": "any"}
    assert found["options"] == options
    assert rubato("schedules", "show", "nightly").json == found
    assert "paused" in rubato("schedules").out


def test_a_pause_a_resume_and_a_delete_say_what_they_did(rubato: Rubato) -> None:
    rubato("schedules", *PUT)

    assert rubato("schedules", "pause", "nightly").err == "nightly is paused\n"
    assert rubato("schedules", "resume", "nightly").err.startswith("nightly is next at ")
    assert rubato("schedules", "delete", "nightly").err == "nightly is deleted\n"
    assert rubato("schedules", "--json").json == []


def test_a_run_prints_the_id_of_a_task(rubato: Rubato) -> None:
    rubato("schedules", *PUT)

    id = rubato("schedules", "run", "nightly").out.strip()

    assert rubato("watch", id).json == {"text": "GOOD NIGHT"}


def test_all_schedules_are_listed_however_many(rubato: Rubato, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.cli.client.PAGE", 2)
    for name in ("e", "d", "c", "b", "a"):
        rubato("schedules", "put", name, *PUT[2:])

    assert [found["name"] for found in rubato("schedules", "--json").json] == ["a", "b", "c", "d", "e"]


def test_what_is_wrong_is_told(rubato: Rubato) -> None:
    bad_line = rubato("schedules", *PUT, "--cron", "0 0 30 2 *")
    unknown = rubato("schedules", "pause", "daily")
    misplaced = rubato("schedules", "--json", "pause", "daily")
    no_line = rubato("schedules", *PUT[:4])

    assert bad_line.code == 1
    assert "is no cron line that can fire" in bad_line.err
    assert unknown.code == 1
    assert "There is no schedule 'daily'" in unknown.err
    assert (misplaced.code, misplaced.err) == (2, "--json goes behind pause\n")
    assert no_line.code == 2
    assert "--cron" in no_line.err
