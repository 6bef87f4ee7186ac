from __future__ import annotations

from pathlib import Path

import pytest

from cluster.errors import StoreProblem
from cluster.places import on_server, same_place, without_password
from cluster.sqlite import SqliteStore
from cluster.stores import store_at


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("/tasks.db", "/tasks.db"),
        ("postgresql://db/x", "postgresql://db/x"),
        ("postgresql://ada@db/x", "postgresql://ada@db/x"),
        ("postgresql://ada:secret@db:5432/x?sslmode=require", "postgresql://ada:***@db:5432/x?sslmode=require"),
        ("postgresql://:secret@db/x", "postgresql://:***@db/x"),
        ("postgresql://ada:s:e@cret@db/x", "postgresql://ada:***@db/x"),
        ("postgresql://ada:s%2Fecret@/x?host=/run", "postgresql://ada:***@/x?host=/run"),
        ("postgresql://db/x?user=ada&password=secret&port=1", "postgresql://db/x?user=ada&password=***&port=1"),
    ],
)
def test_a_place_is_shown_without_its_password(where: str, shown: str) -> None:
    assert without_password(where) == shown


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/a/tasks.db", "/a//tasks.db", True),
        ("/a/tasks.db", "/b/tasks.db", False),
        ("postgresql://ada:old@DB/x", "postgres://bob:new@db:5432/x?sslmode=require", True),
        ("postgresql://db/x", "postgresql://db/y", False),
        ("postgresql://db/x", "postgresql://db:5433/x", False),
        ("postgresql://db/x", "/x", False),
        ("postgresql:///x?host=/run/a", "postgresql:///x?host=/run/b", False),
    ],
)
def test_a_place_is_the_same_whoever_asks_there(one: str, other: str, same: bool) -> None:
    assert same_place(one, other) is same


def test_a_path_is_a_file_of_this_node() -> None:
    assert isinstance(store_at("/tasks.db"), SqliteStore)
    assert not on_server(str(Path("/tasks.db")))


def test_a_url_is_a_database_that_is_not_asked_before_it_is_opened() -> None:
    store = store_at("postgresql://ada:secret@nowhere.example/x?sslmode=require")

    assert type(store).__name__ == "PostgresStore"
    assert on_server("postgresql://db/x")


def test_a_kind_that_nobody_knows_is_refused_with_a_sentence() -> None:
    with pytest.raises(StoreProblem, match="mysql is not a kind of store") as refused:
        store_at("mysql://ada:secret@db/x")

    assert "secret" not in str(refused.value)
