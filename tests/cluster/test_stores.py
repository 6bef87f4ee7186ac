"""Every store keeps the contract."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.ids import new_id
from cluster import queries as sql
from cluster import sqlite
from cluster.apikeys import ApiKey
from cluster.errors import StoreProblem, Unavailable
from cluster.memory import MemoryStore
from cluster.schema import MIGRATIONS, VERSION
from cluster.sessions import Session
from cluster.sqlite import SqliteStore
from cluster.store import Queue, Store, Writes
from cluster.task import Filter, extra_json

from .making import task
from .rows import event_row, new
from .store_contract import StoreContract


class TestMemoryStore(StoreContract):
    def taken(self) -> tuple[Store, str, int]:
        store = MemoryStore()
        owner = store.take()
        return store, owner.store_id, owner.generation

    def again(self, store: Store) -> Store:
        return store

    def retake(self, store: Store) -> tuple[str, int]:
        assert isinstance(store, MemoryStore)
        owner = store.take()
        return owner.store_id, owner.generation


class TestSqliteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "ledger.db"

    def taken(self) -> tuple[Store, str, int]:
        owner = take(self.path, create=True)
        return SqliteStore(self.path), owner[0], owner[1]

    def again(self, store: Store) -> Store:
        """As after a power cut: the files as they are, opened elsewhere."""
        copy = self.path.with_name(f"copy-{new_id()}.db")
        for suffix in ("", "-wal"):
            if Path(f"{self.path}{suffix}").exists():
                shutil.copy(f"{self.path}{suffix}", f"{copy}{suffix}")
        opened = SqliteStore(copy)
        opened._connect()
        return opened

    def retake(self, store: Store) -> tuple[str, int]:
        """Another machine that sees the file but not the lock."""
        with sqlite3.connect(self.path) as db:
            db.execute("update owner set generation=generation+1, tick=0")
            return db.execute("select store_id, generation from owner").fetchone()  # type: ignore[no-any-return]


def take(path: Path, *, create: bool) -> tuple[str, int]:
    owner = SqliteStore(path).take(create=create)
    return owner.store_id, owner.generation


async def test_a_missing_store_is_an_error_and_never_a_fresh_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    with pytest.raises(StoreProblem, match="gone"):
        take(path, create=False)
    with pytest.raises(StoreProblem, match="gone"):
        await SqliteStore(path).open("any", 1)
    assert not path.exists()


def test_every_take_is_a_new_generation_of_the_same_store(tmp_path: Path) -> None:
    first = take(tmp_path / "ledger.db", create=True)

    second = take(tmp_path / "ledger.db", create=False)

    assert second == (first[0], first[1] + 1)


def test_another_store_than_the_one_expected_is_refused_and_keeps_its_owner(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    owner = store.take(create=True)

    with pytest.raises(StoreProblem, match="not the store"):
        SqliteStore(tmp_path / "ledger.db").take(create=False, expect="another")

    again = SqliteStore(tmp_path / "ledger.db").take(create=False, expect=owner.store_id)
    assert again == owner._replace(generation=owner.generation + 1)


async def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    store_id, generation = take(tmp_path / "ledger.db", create=True)
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open(store_id, generation)

    with pytest.raises(StoreProblem, match="another ledger"):
        SqliteStore(tmp_path / "ledger.db").take(create=False, wait=0.1)
    await store.close()


def test_a_store_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    take(tmp_path / "ledger.db", create=True)
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute(f"pragma user_version={VERSION + 1}")

    with pytest.raises(StoreProblem, match="newer Rubato"):
        take(tmp_path / "ledger.db", create=False)


async def test_another_who_writes_in_the_file_holds_up_nothing_but_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY", 0.2)
    path = tmp_path / "ledger.db"
    store = SqliteStore(path)
    await store.open(*take(path, create=True)[:2])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    one, turns = task(), 0

    commit = asyncio.create_task(store.commit(new(one)))
    while not commit.done():
        await asyncio.sleep(0.001)
        turns += 1
    with pytest.raises(Unavailable, match="another program"):
        await commit
    waiting = asyncio.create_task(store.commit(new(one)))
    await asyncio.sleep(0.05)
    assert await store.task("", one.id) is None
    other.execute("rollback")
    await waiting

    assert turns > 20, "the loop stood still"
    assert await store.task("", one.id) == one
    other.close()
    await store.close()


async def test_a_value_the_database_cannot_hold_fails_its_own_commit(tmp_path: Path) -> None:
    store_id, generation = take(tmp_path / "ledger.db", create=True)
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open(store_id, generation)

    with pytest.raises(Exception, match="surrogates"):
        await store.commit(new(task(input="\ud800")))
    await store.commit(new(task()))
    await store.close()


def plan(path: Path, query: str, values: Sequence[object] = ()) -> str:
    """How SQLite answers a query, as a ledger has it open."""
    take(path, create=True)
    with sqlite3.connect(path) as db:
        steps = db.execute(f"explain query plan {query}", values or [1] * query.count("?")).fetchall()
    return " | ".join(text for _, _, _, text in steps)


@pytest.mark.parametrize("query", [sql.OLDEST, sql.QUEUES])
def test_what_is_asked_of_a_long_queue_is_answered_by_its_index_alone(tmp_path: Path, query: str) -> None:
    assert "USING COVERING INDEX task_queued" in plan(tmp_path / "ledger.db", query)


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("task_batch", sql.BATCH),
        ("task_batch", sql.IN_BATCH),
        ("task_deadline", sql.OVERDUE),
        ("task_delayed (agent=? AND lane=? AND tenant=? AND limit_key=? AND run_at>?)", sql.DUE),
        ("task_parent", sql.CHILDREN),
        ("task_parents", sql.ORPHANS),
        ("task_queued", sql.READY),
        ("task_running", sql.RUNNING),
        ("task_schedule", sql.OF_SCHEDULE),
        ("task_untold", sql.UNTOLD),
        ("task_waiting", sql.WAKES),
        ("PRIMARY KEY ((tenant,id)>(?,?))", sql.SWEEP),
    ],
)
def test_what_a_ledger_goes_by_is_found_without_a_walk_over_every_task(tmp_path: Path, index: str, query: str) -> None:
    assert index in plan(tmp_path / "ledger.db", query)


@pytest.mark.parametrize(
    ("index", "filter"),
    [
        ("task_batch", Filter(batch_id="b")),
        ("task_parent", Filter(parent_id="p")),
        ("task_trouble", Filter(state="failed")),
        ("task_running", Filter(agent="a", state="running")),
        ("PRIMARY KEY (tenant=? AND id<?)", Filter(agent="a")),
    ],
)
def test_a_list_is_found_by_what_narrows_it_most(tmp_path: Path, index: str, filter: Filter) -> None:
    query, values = sql.listing(sqlite._DIALECT, "", filter, "id", 100)

    assert index in plan(tmp_path / "ledger.db", query, values)


def test_a_place_in_a_long_queue_is_found_by_ranges_of_its_index(tmp_path: Path) -> None:
    found = [part for part in plan(tmp_path / "ledger.db", sql.AHEAD).split(" | ") if "task USING" in part]

    assert [part.rpartition(" ")[2] for part in found] == ["priority>?)", "rank<?)", "id<?)"]
    assert all("USING COVERING INDEX task_queued" in part for part in found)


def test_an_older_store_knows_afterwards_what_its_tasks_name(tmp_path: Path) -> None:
    """Artifacts that it names must not go as if nobody did."""
    path = tmp_path / "ledger.db"
    shas = {name: name[0] * 64 for name in ("aninput", "boutput", "cstep")}
    named = {name: json.dumps({"files": [{"sha256": sha256, "size": 1}]}) for name, sha256 in shas.items()}
    with sqlite3.connect(path) as db:
        for statement in MIGRATIONS[0]:
            db.execute(statement)
        columns = "tenant,id,agent,version,input,priority,tags,max_attempts,timeout,created_at,state,attempts,fence"
        values = ("", "t1", "echo", "v1", named["aninput"], 0, "[]", 1, 1.0, 1.0, "completed", 1, 1)
        db.execute(
            f"insert into task ({columns},isolated,run_at,output,events) values ({','.join('?' * 13)},0,0,?,0)",
            (*values, named["boutput"]),
        )
        db.execute(
            f"insert into task ({columns},isolated,run_at,output,events) values ({','.join('?' * 13)},0,0,?,0)",
            ("", "t2", *values[2:4], '{"text":"\\"sha256\\" {"}', *values[5:], None),
        )
        db.execute("insert into step values ('','t1','think','#0','d',?,1,1,5,1,1)", (named["cstep"],))
        db.execute("pragma user_version=1")

    take(path, create=False)

    with sqlite3.connect(path) as db:
        assert sorted(db.execute("select * from reference")) == [("", sha256, "t1") for sha256 in sorted(shas.values())]


async def test_a_store_from_before_there_were_keys_has_none_and_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as db:
        for statements in MIGRATIONS[:2]:
            for statement in statements:
                db.execute(statement)
        db.execute("pragma user_version=2")
    owner = take(path, create=False)
    store = SqliteStore(path)
    await store.open(*owner)
    assert await store.api_keys() == []
    key = ApiKey("", "k1", "", "run", "d", 5.0)

    await store.commit(Writes(api_keys={("", "k1"): key}))

    assert await store.api_keys() == [key]
    await store.close()


async def test_a_store_from_before_there_were_sessions_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as db:
        for statements in MIGRATIONS[:3]:
            for statement in statements:
                db.execute(statement)
        db.execute("pragma user_version=3")
    store = SqliteStore(path)
    await store.open(*take(path, create=False))
    session, talking = Session("", "support", "s", 1, "1", "w", 5.0), task(extra=extra_json(session="s"))

    await store.commit(Writes(new={talking.ref: talking}, sessions={session.ref: session}))

    assert await store.session(*session.ref) == session
    assert await store.tasks("", Filter(session="s"), None, 9) == [talking]
    await store.close()


async def test_a_store_from_before_there_were_lanes_has_its_tasks_in_none(tmp_path: Path) -> None:
    path, old = tmp_path / "ledger.db", task(run_at=5.0)
    with sqlite3.connect(path) as db:
        for statements in MIGRATIONS[:4]:
            for statement in statements:
                db.execute(statement)
        columns = [name for name in old._fields if name != "lane"]
        row = [getattr(old, name) for name in columns]
        db.execute(f"insert into task ({','.join(columns)}) values ({','.join('?' * len(row))})", row)
        db.execute("pragma user_version=4")
    store = SqliteStore(path)
    await store.open(*take(path, create=False))
    there = task(lane="a")

    await store.commit(Writes(new={there.ref: there}))

    assert await store.ready(Queue(old.agent, "", "", old.limit_key), 9.0, 9) == [old]
    assert await store.due(Queue(old.agent, "", "", old.limit_key), 1.0) == 5.0
    assert await store.ready(Queue(there.agent, "a", "", there.limit_key), 9.0, 9) == [there]
    assert await store.lanes() == []
    await store.close()


async def test_the_tasks_of_a_session_and_idle_sessions_are_found_by_an_index(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open(*take(tmp_path / "ledger.db", create=True))
    query, values = sql.listing(sqlite._DIALECT, "", Filter(session="s"), None, 9)

    plan = str(store._reads.execute(f"explain query plan {query}", values).fetchall())
    idle = str(store._reads.execute(f"explain query plan {sql.IDLE}", (5.0, 9)).fetchall())

    assert "task_session (tenant=? AND <expr>=?)" in plan
    assert "session_written" in idle
    assert "TEMP B-TREE" not in plan + idle
    await store.close()


async def test_a_look_at_the_end_of_a_long_log_reads_the_end_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open(*take(tmp_path / "ledger.db", create=True))
    short, long = (task(started_at=1.0, state="running", worker="w") for _ in range(2))
    writes = new(short, long)
    writes.events = [event_row(one, seq) for one, size in ((short, 2), (long, 5000)) for seq in range(1, size + 1)]
    await store.commit(writes)
    worked: list[None] = []
    store._reads.set_progress_handler(lambda: worked.append(None), 10)

    await store.events("", short.id, 1, 1000)
    little = len(worked)
    _, events = await store.events("", long.id, 4999, 1000)

    assert [event.seq for event in events] == [5000]
    assert len(worked) <= 3 * little
    await store.close()
