from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cluster.errors import StoreProblem
from deployments.background import take_store
from deployments.changes import STAYS, difference
from deployments.settings import Settings
from deployments.state import Busy, OtherStore, Running, StateFolder
from deployments.up import Order


def folder(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path / "state")
    state.make()
    return state


def record(**changes: object) -> Running:
    settings = Settings().model_dump(exclude={"agents"})
    found = {"cluster": "c", "url": "u", "address": "a", "logs": "l", "store": "s", "pid": 7}
    return Running(**{**found, "agents": {"echo": "m:Echo"}, "settings": settings, **changes})  # type: ignore[arg-type]


def test_the_folder_keeps_its_id_and_its_owner_alone_may_enter(tmp_path: Path) -> None:
    state = folder(tmp_path)

    assert state.make() == state.id()
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700


def test_what_runs_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    state = folder(tmp_path)
    state.remember(record())

    assert state.running() == record()
    state.forget()
    assert state.running() is None


@pytest.mark.parametrize("text", ["", "{", '{"cluster": "c"}', '{"of": "another version"}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    state = folder(tmp_path)
    (state.path / "cluster.json").write_text(text)

    assert state.running() is None


def test_only_one_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    state = folder(tmp_path)

    with state.locked(), pytest.raises(Busy, match="process"), state.locked():
        pass
    with state.locked():
        pass


def test_each_taking_of_the_store_is_a_new_generation_of_the_same_store(tmp_path: Path) -> None:
    state = folder(tmp_path)

    first, second = take_store(state, ""), take_store(state, "")

    assert first[:2] == second[:2]
    assert (first[0], second[2] - first[2]) == (str(state.path / "ledger.db"), 1)


def test_a_store_that_is_gone_is_never_replaced_by_an_empty_one(tmp_path: Path) -> None:
    state = folder(tmp_path)
    path, _, _ = take_store(state, "")
    for file in state.path.glob("ledger.db*"):
        file.unlink()

    with pytest.raises(StoreProblem, match="gone"):
        take_store(state, "")
    assert not Path(path).exists()


def test_another_store_in_its_place_is_refused(tmp_path: Path) -> None:
    state, other = folder(tmp_path), StateFolder(tmp_path / "other")
    other.make()
    path, _, _ = take_store(state, "")
    for file in state.path.glob("ledger.db*"):
        file.unlink()
    take_store(other, path)

    with pytest.raises(StoreProblem, match="not the store"):
        take_store(state, "")


def test_settings_that_name_another_store_than_the_folder_has_had_are_refused(tmp_path: Path) -> None:
    state = folder(tmp_path)
    take_store(state, "")

    with pytest.raises(OtherStore, match="--state"):
        take_store(state, str(tmp_path / "elsewhere.db"))
    assert json.loads((state.path / "store.json").read_text())["url"] == str(state.path / "ledger.db")


SERVER = "postgresql://ada:secret@db.example:5432/tasks"


def test_the_store_on_a_server_may_be_asked_for_by_another_user_and_nowhere_else(tmp_path: Path) -> None:
    state = folder(tmp_path)
    state.remember_store(SERVER, "i1")

    assert state.store("") == (SERVER, "i1")
    assert state.store("postgres://bob:new@db.example/tasks") == ("postgres://bob:new@db.example/tasks", "i1")
    for other in ("postgresql://ada:secret@db.example/more", "postgresql://ada:secret@db2.example/tasks", "/tasks.db"):
        with pytest.raises(OtherStore) as refused:
            state.store(other)
        assert "secret" not in str(refused.value)


def test_a_folder_of_an_earlier_version_keeps_its_store(tmp_path: Path) -> None:
    state = folder(tmp_path)
    (state.path / "store.json").write_text('{"path": "/far/ledger.db", "id": "i1"}')

    assert state.store("") == ("/far/ledger.db", "i1")


def test_what_holds_a_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    state = folder(tmp_path)

    state.remember(record(store=SERVER))
    state.remember_store(SERVER, "i1")

    for name in ("cluster.json", "store.json"):
        assert "secret" in (state.path / name).read_text()
        assert stat.S_IMODE((state.path / name).stat().st_mode) == 0o600


def test_a_second_up_names_agents_and_settings_that_differ_and_nothing_else(tmp_path: Path) -> None:
    state = folder(tmp_path)
    other = Settings.model_validate({"serve": {"port": 9000}})

    assert difference(record(), Order(state, Settings(), {"echo": "m:Echo"})) == []
    assert difference(record(), Order(state, other, {}, ("shop:Shop",))) == [
        "+ shop:Shop",
        "- m:Echo",
        f"serve.port: 8000 -> 9000{STAYS}",
    ]


def test_no_difference_shows_a_password(tmp_path: Path) -> None:
    state = folder(tmp_path)
    before = Settings.model_validate({"store": {"url": SERVER}})

    def lines(url: str) -> list[str]:
        found = record(settings=before.model_dump(exclude={"agents"}))
        return difference(found, Order(state, Settings.model_validate({"store": {"url": url}}), {"echo": "m:Echo"}))

    assert lines(SERVER.replace("secret", "hidden")) == [f"store.url: another password{STAYS}"]
    assert lines("postgresql://bob:hidden@db/x") == [
        f"store.url: 'postgresql://ada:***@db.example:5432/tasks' -> 'postgresql://bob:***@db/x'{STAYS}"
    ]
