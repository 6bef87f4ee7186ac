"""Statements of many rows write what those of one would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster import sqlite_writes
from cluster.sqlite import SqliteStore
from cluster.sqlite_writes import CLAIM, END, MOST, MOVE, Many
from cluster.store import Writes
from cluster.task import State, Task

from .making import task
from .rows import new, step_row


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    owner = SqliteStore(tmp_path / "ledger.db").take(create=True)
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open(owner.store_id, owner.generation)
    yield store
    await store.close()


def claimed(number: int, task: Task) -> Task:
    return task.but(
        state=State.RUNNING.value, worker=f"w{number}", fence=number + 1, attempts=1, started_at=5.0 + number
    )


def ended(number: int, task: Task) -> Task:
    state = State.FAILED if number % 3 == 0 else State.COMPLETED
    said = {"error": f'"{number}"'} if state is State.FAILED else {"output": f'{{"n":{number}}}'}
    return task.but(state=state.value, worker=None, ended_at=9.0 + number, events=number, **said)


@pytest.mark.parametrize("number", [1, 2, 3, MOST - 1, MOST, MOST + 1, 3 * MOST + 7])
async def test_each_of_many_rows_is_written_as_it_is(store: SqliteStore, number: int) -> None:
    untouched, tasks = task(), [task() for _ in range(number)]

    await store.commit(new(untouched, *tasks))
    tasks = [claimed(place, each) for place, each in enumerate(tasks)]
    await store.commit(Writes(moved={each.ref: each for each in tasks}, claimed=tasks))
    assert [await store.task(*each.ref) for each in tasks] == tasks

    steps = [step_row(each, f"s{place}", place) for place, each in enumerate(tasks)]
    tasks = [ended(place, each) for place, each in enumerate(tasks)]
    await store.commit(Writes(moved={each.ref: each for each in tasks}, ended=tasks, steps=steps))
    assert [await store.task(*each.ref) for each in tasks] == tasks
    assert [(await store.steps(*each.ref))[0].seq for each in tasks] == [*range(number)]

    tasks = [each.but(told=1, children=place, waiting_on=f'"{place}"') for place, each in enumerate(tasks)]
    await store.commit(Writes(moved={each.ref: each for each in tasks}))  # more than narrow statements say
    assert [await store.task(*each.ref) for each in tasks] == tasks
    assert await store.task(*untouched.ref) == untouched


@pytest.mark.parametrize("statement", [CLAIM, END, MOVE])
@pytest.mark.parametrize("rows", [1, 2, MOST])
async def test_a_moved_task_is_found_by_its_key(store: SqliteStore, statement: Many, rows: int) -> None:
    query = sqlite_writes._text(statement, rows)

    plan = str(store._db.execute(f"explain query plan {query}", [1] * query.count("?")).fetchall())

    assert "SEARCH task USING PRIMARY KEY (tenant=? AND id=?)" in plan
    assert "SCAN task" not in plan
