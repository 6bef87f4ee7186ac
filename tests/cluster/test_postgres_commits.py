"""Commits to a PostgreSQL happen once or not at all, whatever becomes of the connection; and by one ledger only."""

from __future__ import annotations

import asyncio
import json

import pytest

from cluster import postgres_link, postgres_writer
from cluster.errors import Fenced, Unavailable
from cluster.postgres import PostgresStore
from cluster.store import SignalRow, StoreFailed
from cluster.task import Filter, Task
from tests.postgres import OwnServer, drop_database, make_database

from .making import task
from .on_postgres import backends, held, opened, proxied, say, take, tick, until, waiting
from .proxy import Proxy
from .rows import event_row, moved, new, step_row

store = proxied  # what a test here gets as its `store`


# what becomes of a commit whose answer is lost


async def test_a_commit_whose_answer_was_lost_has_happened(
    store: PostgresStore, proxy: Proxy, postgres_url: str
) -> None:
    one = task()
    await store.commit(new(task()))
    proxy.hold(back=True)
    commit = asyncio.create_task(store.commit(new(one)))

    async def done() -> bool:
        return await tick(postgres_url) == 2

    await until(done)
    proxy.resume()
    proxy.cut()
    await commit

    assert await store.task("", one.id) == one
    await store.commit(new(task()))
    assert await tick(postgres_url) == 3


async def test_a_commit_that_never_arrived_has_not_happened(
    store: PostgresStore, proxy: Proxy, postgres_url: str
) -> None:
    one = task()
    await store.commit(new(task()))
    proxy.hold(forth=True)
    commit = asyncio.create_task(store.commit(new(one)))
    await asyncio.sleep(0.05)
    proxy.lose()
    proxy.resume()

    with pytest.raises(StoreFailed, match="lost before it"):
        await commit

    assert await store.task("", one.id) is None
    await store.commit(new(one))
    assert await store.task("", one.id) == one


async def test_a_statement_that_the_server_runs_after_we_asked_changes_nothing(
    store: PostgresStore, proxy: Proxy, postgres_url: str
) -> None:
    late = task()
    async with held(postgres_url, "lock table task in access exclusive mode"):
        commit = asyncio.create_task(store.commit(new(late)))
        await waiting(postgres_url)
        proxy.cut()
        with pytest.raises(StoreFailed, match="lost before it"):
            await commit
        assert await backends(postgres_url) == 1  # it still waits, and runs as soon as it may

    async def over() -> bool:
        return await backends(postgres_url) == 0

    await until(over)
    assert await store.task("", late.id) is None
    await store.commit(new(late))
    assert await tick(postgres_url) == 1


async def test_a_statement_that_the_server_runs_while_we_ask_has_happened(
    store: PostgresStore, proxy: Proxy, postgres_url: str
) -> None:
    one = task()
    async with held(postgres_url, "select 1 from owner for update"):
        commit = asyncio.create_task(store.commit(new(one)))
        await waiting(postgres_url)
        proxy.cut()
        await waiting(postgres_url, 2)

    await commit

    assert await store.task("", one.id) == one
    assert await tick(postgres_url) == 1


async def test_a_large_commit_that_is_cut_off_has_not_happened(
    store: PostgresStore, proxy: Proxy, postgres_url: str
) -> None:
    tasks = [task() for _ in range(2500)]
    async with held(postgres_url, "lock table step in access exclusive mode"):
        writes = new(*tasks)
        writes.steps.append(step_row(tasks[0], "think", 1))
        commit = asyncio.create_task(store.commit(writes))
        await waiting(postgres_url)
        proxy.cut()

    with pytest.raises(StoreFailed, match="lost before it"):
        await commit

    assert await store.tasks("", Filter(), None, 10) == []


async def test_what_stays_unknown_is_neither_yes_nor_no_and_the_next_read_settles_it(
    store: PostgresStore, proxy: Proxy, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "UNKNOWN", 0.1)
    late = task()
    async with held(postgres_url, "lock table task in access exclusive mode"):
        commit = asyncio.create_task(store.commit(new(late)))
        await waiting(postgres_url)
        proxy.accepts = False
        proxy.cut()
        with pytest.raises(Unavailable):
            await commit
        with pytest.raises(Unavailable):
            await store.running()
        proxy.accepts = True
        await asyncio.sleep(postgres_link.PAUSE)
        assert await store.rules() == []

    await store.commit(new(late))
    assert await tick(postgres_url) == 1


async def test_a_server_that_has_lost_commits_is_noticed_before_the_next(
    store: PostgresStore, proxy: Proxy, postgres_url: str
) -> None:
    lost = task()
    await store.commit(new(task()))
    await store.commit(new(lost))
    # as a failover may
    await say(postgres_url, f"delete from task where id='{lost.id}'", "update owner set tick=1")
    proxy.cut()
    await asyncio.sleep(0.05)

    with pytest.raises(StoreFailed, match="not as this ledger knew it"):
        await store.commit(moved(lost._replace(state="failed")))

    assert await store.task(*lost.ref) is None
    await store.commit(new(lost))
    assert await tick(postgres_url) == 2


async def test_a_lost_connection_alone_is_no_reason_to_start_anew(store: PostgresStore, proxy: Proxy) -> None:
    for _ in range(3):
        await store.commit(new(task()))
        proxy.cut()
        await asyncio.sleep(0.05)
        assert await store.running() == []
        await store.commit(new(task()))


# one ledger


async def test_whoever_opened_last_may_write_and_nobody_else_of_its_generation(postgres_url: str) -> None:
    owner = take(postgres_url)
    first, second = PostgresStore(postgres_url), PostgresStore(postgres_url)
    await first.open(owner.store_id, owner.generation)
    await first.commit(new(task()))

    assert (await second.open(owner.store_id, owner.generation)).tick == 1

    with pytest.raises(Fenced):
        await first.commit(new(task()))
    await second.commit(new(task()))
    assert len(await second.tasks("", Filter(), None, 9)) == 2
    await first.close()
    await second.close()


async def test_a_connection_that_is_lost_is_not_won_back_from_a_newer_ledger(
    store: PostgresStore, proxy: Proxy, postgres_url: str
) -> None:
    owner = store._writer._owner
    other = PostgresStore(postgres_url)
    await other.open(owner.store_id, owner.generation)
    proxy.cut()
    await asyncio.sleep(0.05)

    with pytest.raises(Fenced):
        await store.running()
    with pytest.raises(Fenced):
        await store.commit(new(task()))
    await other.commit(new(task()))
    await other.close()


async def test_opening_it_again_is_no_tick(postgres_url: str) -> None:
    owner = take(postgres_url)
    ticks = []
    for commits in (0, 1, 0):
        store = PostgresStore(postgres_url)
        ticks.append((await store.open(owner.store_id, owner.generation)).tick)
        for _ in range(commits):
            await store.commit(new(task()))
        await store.close()

    assert ticks == [0, 0, 1]


# rows


async def test_a_large_commit_is_all_or_nothing(store: PostgresStore, postgres_url: str) -> None:
    tasks = [task() for _ in range(2500)]
    bad = new(*tasks)
    bad.events += [event_row(tasks[0], 1), event_row(tasks[0], 1)]

    with pytest.raises(StoreFailed):
        await store.commit(bad)
    assert await store.tasks("", Filter(), None, 10) == []
    await store.commit(new(*tasks))
    ended = [each._replace(state="completed", output="1", ended_at=5.0, events=2) for each in tasks]
    await store.commit(moved(*ended))

    assert await tick(postgres_url) == 2
    assert await store.many([each.ref for each in tasks]) == {each.ref: each for each in ended}


async def test_long_rows_go_in_pages_of_their_own(store: PostgresStore) -> None:
    tasks = [task(input=f'"{"x" * 1_500_000}"') for _ in range(4)]

    await store.commit(new(*tasks))

    assert await store.many([each.ref for each in tasks]) == {each.ref: each for each in tasks}


async def test_a_signal_that_is_sent_and_taken_in_one_tick_is_taken(store: PostgresStore) -> None:
    one = task(signals=2)
    rows = [SignalRow(*one.ref, number, "go", "1", 5.0) for number in range(2)]
    writes = new(one)
    writes.signals += rows
    writes.taken.append((*one.ref, 1))

    await store.commit(writes)

    assert (await store.pasts([one.ref]))[one.ref].signals == (rows[0],)


async def test_what_is_gone_stays_gone_whatever_else_the_tick_says_of_it(store: PostgresStore) -> None:
    one, other = task(), task()
    await store.commit(new(one, other))
    writes = moved(one._replace(state="failed"), other._replace(state="failed"))
    writes.steps.append(step_row(one, "think", 1))
    writes.gone.append(one.ref)

    await store.commit(writes)

    assert await store.many([one.ref, other.ref]) == {other.ref: other._replace(state="failed")}
    assert await store.steps(*one.ref) == []


@pytest.mark.parametrize(
    "changes", [{"input": "sesame\ud800"}, {"input": "sesame\0"}, {"priority": 2**40}, {"agent": None}]
)
async def test_a_row_the_database_cannot_hold_fails_its_own_commit_and_is_not_quoted(
    store: PostgresStore, changes: dict[str, object]
) -> None:
    with pytest.raises(StoreFailed) as failed:
        await store.commit(new(task(**changes)))
    await store.commit(new(task()))

    assert "sesame" not in str(failed.value)


async def test_a_text_the_database_cannot_hold_is_found_nowhere(store: PostgresStore) -> None:
    for text in ("\0", "\ud800"):
        assert await store.task("", text) is None
        assert await store.tasks("", Filter(agent=text), None, 9) == []
        assert await store.key("", "/v1/tasks", text) is None
        assert await store.events("", text, -1, 9) == (None, [])


async def test_a_tag_of_any_text_is_found(store: PostgresStore) -> None:
    tags = ["plain", 'quo"te', "back\\slash", "naïve ☃", "nul\0", "half\ud800", "a, b"]
    tasks = {tag: task(tags=json.dumps([tag, "all"])) for tag in tags}
    await store.commit(new(*tasks.values()))

    for tag, each in tasks.items():
        assert [found.id for found in await store.tasks("", Filter(tag=tag), None, 9)] == [each.id]
    assert len(await store.tasks("", Filter(tag="all"), None, 9)) == len(tags)
    assert await store.tasks("", Filter(tag="quo"), None, 9) == []


# a server that dies


async def test_what_was_committed_outlives_the_server_and_the_store_goes_on_with_the_next(
    own_postgres: OwnServer,
) -> None:
    name = "rubato_test_killed"
    url = await make_database(own_postgres, name)
    async with opened(url) as store:
        tasks: list[Task] = []

        async def load() -> None:
            while True:
                each = task()
                try:
                    await store.commit(new(each))
                except (StoreFailed, Unavailable):
                    await asyncio.sleep(0.01)
                else:
                    tasks.append(each)

        loading = asyncio.create_task(load())
        for _ in range(2):
            before = len(tasks)
            while len(tasks) < before + 30:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(own_postgres.kill)
            with pytest.raises(Unavailable):
                await store.task(*tasks[0].ref)
            await asyncio.to_thread(own_postgres.restart)
        before = len(tasks)
        while len(tasks) < before + 30:
            await asyncio.sleep(0.01)
        loading.cancel()
        await asyncio.wait([loading])

        found = {each.id for each in await store.tasks("", Filter(), None, 100_000)}
        assert {each.id for each in tasks} <= found
        assert await store.many([each.ref for each in tasks]) == {each.ref: each for each in tasks}
    await drop_database(own_postgres, name)
