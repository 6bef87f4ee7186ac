"""What is refused before a RayService's applications are built."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.admitting import NoAdmission
from deployments.rayservice import agent, texts
from deployments.settings import ArtifactsTable, Settings, SettingsProblem, StoreTable
from deployments.starter import STATE, Unfit, check_place

STORE = StoreTable(url="postgresql://db/rubato", takeover="when_ready")
GOOD = Settings(store=STORE, artifacts=ArtifactsTable(url="/artifacts"))
KEY = f"rbt_{'0' * 32}_{'0' * 64}"


def stored(**changes: str) -> Settings:
    """Good settings with another [store]."""
    return GOOD.model_copy(update={"store": STORE.model_copy(update=changes)})


def test_the_arguments_of_a_builder_come_in_their_order() -> None:
    assert texts("agent", {"name": "echo", "settings": "/etc/rubato.toml"}) == ["/etc/rubato.toml", "echo"]


@pytest.mark.parametrize(
    ("builder", "given", "sentences"),
    [
        ("gateway", {"settings": "a", "setings": "b"}, ["takes no argument 'setings'; did you mean 'settings'?"]),
        ("gateway", {"settings": "a", "name": "b"}, ["takes no argument 'name'"]),
        ("agent", {}, ["needs the argument 'settings', a text", "needs the argument 'name', a text"]),
        ("agent", {"settings": "a", "name": 3}, ["needs the argument 'name', a text"]),
        ("agent", {"settings": "", "name": "b"}, ["needs the argument 'settings', a text"]),
    ],
)
def test_other_arguments_are_refused_all_at_once(builder: str, given: dict[str, object], sentences: list[str]) -> None:
    with pytest.raises(SettingsProblem) as refused:
        texts(builder, given)

    assert [problem.removeprefix(f"{builder} ") for problem in refused.value.problems] == sentences


def test_settings_that_are_not_there_are_named() -> None:
    with pytest.raises(SettingsProblem, match=r"/nowhere/rubato\.toml: No such file"):
        agent({"settings": "/nowhere/rubato.toml", "name": "echo"})


def test_a_place_where_everything_outlives_a_node_is_taken() -> None:
    check_place(GOOD, {STATE: "/state", "RUBATO_ADMIN_KEY": KEY}, opens=False)
    check_place(GOOD, {STATE: "/state"}, opens=True)


@pytest.mark.parametrize(
    ("settings", "env", "opens", "missing"),
    [
        (stored(url=""), {STATE: "/state"}, True, "RUBATO_STORE_URL"),
        (stored(url="/a/ledger.db"), {STATE: "/state"}, True, "a PostgreSQL"),
        (stored(takeover="never"), {STATE: "/state"}, True, "[store] takeover"),
        (Settings(store=STORE), {STATE: "/state"}, True, "[artifacts] url"),
        (GOOD, {}, True, STATE),
        (GOOD, {STATE: "/state", "RUBATO_ADMIN_KEY": " "}, False, "RUBATO_ADMIN_KEY must be"),
    ],
)
def test_a_place_that_lacks_something_is_refused_in_a_sentence(
    settings: Settings, env: dict[str, str], opens: bool, missing: str
) -> None:
    with pytest.raises(Unfit) as refused:
        check_place(settings, env, opens=opens)

    assert missing in str(refused.value)
    assert len(refused.value.args) == 1


def test_an_operators_key_that_somebody_thought_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoAdmission):
        check_place(GOOD, {STATE: str(tmp_path), "RUBATO_ADMIN_KEY": "sesame"}, opens=False)
