"""What a ledger goes by is found by an index, in a PostgreSQL that knows nothing of its tables and in one that does."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import asyncpg
import pytest

from cluster import postgres, postgres_writes
from cluster import queries as sql
from cluster.apikeys import ApiKey
from cluster.postgres_link import BY_FILTER, BY_INDEX, read_url
from cluster.sessions import Session
from cluster.store import KeyRow, Reference, SignalRow, Writes
from cluster.task import Filter
from tests.postgres import Server, drop_database, make_database

from .keeping_contract import schedule
from .making import task
from .on_postgres import opened, say
from .rows import event_row, new, step_row


@pytest.fixture(scope="module", params=["empty", "full"])
def database(request: pytest.FixtureRequest, postgres_server: Server) -> Iterator[str]:
    """One of its own for all tests here, which only read how it would answer."""
    url = asyncio.run(make_database(postgres_server, f"rubato_plans_{secrets.token_hex(4)}"))
    asyncio.run(_fill(url, full=request.param == "full"))
    yield url
    asyncio.run(drop_database(postgres_server, urlsplit(url).path[1:]))


async def _fill(url: str, *, full: bool) -> None:
    async with opened(url) as store:
        for n in range(5 if full else 0):
            await store.commit(much(n))
    if full:
        await say(url, "analyze")


def much(n: int) -> Writes:
    """A thousand tasks, and something of each kind that may be kept of one."""
    tasks = [task(created_at=float(m), batch_id=f"b{n}", parent_id=f"p{n}", signals=1) for m in range(1000)]
    writes = new(*tasks)
    for each in tasks:
        key = KeyRow("", "/v1/tasks", each.id, "d", None, f'["{each.id}"]', each.id)
        writes.keys[key[:3]] = key
        writes.steps.append(step_row(each, "think", 1))
        writes.events.append(event_row(each, 2))
        writes.signals.append(SignalRow(*each.ref, 0, "go", "1", 5.0))
        writes.references.add(Reference("", f"sha{n}", each.id))
        writes.schedules["", each.id] = schedule(each.id)
        writes.api_keys[each.ref] = ApiKey(*each.ref, "", "run", "d", 5.0)
        session = Session("", "echo", each.id, 1, "1", "", 5.0)
        writes.sessions[session.ref] = session
    return writes


async def plan(url: str, query: str, settings: dict[str, str], values: Sequence[str] = ()) -> str:
    """How the server would answer it to a store, a line for each part."""
    numbered = postgres._numbered(query)
    places = max((int(found) for found in re.findall(r"\$(\d+)", numbered)), default=0)
    given = ",".join(values or ["null"] * places)
    connection = await asyncpg.connect(url, server_settings={**read_url(url).settings, **settings})
    try:
        await connection.execute(f"prepare asked as {numbered}")
        rows = await connection.fetch(f"explain (costs off) execute asked{f'({given})' if given else ''}")
    finally:
        await connection.close()
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("task_pkey", sql.ONE),
        ("task_pkey", postgres._MANY),
        ("task_pkey", sql.SWEEP),
        ("task_pkey", postgres._EVENTS),
        ("event_pkey", postgres._EVENTS),
        ("event_pkey", sql.STALE),
        ("step_pkey", postgres._JOURNAL),
        ("task_running", sql.RUNNING),
        ("task_queued", sql.READY),
        ("task_queued", sql.AHEAD),
        ("task_queued", postgres._QUEUES),
        ("task_delayed", sql.DUE),
        ("task_delayed", sql.DUES),
        ("task_waiting", sql.WAKES),
        ("task_deadline", sql.OVERDUE),
        ("task_waiting", postgres._ALARMS),
        ("task_parent", sql.CHILDREN),
        ("task_untold", sql.UNTOLD),
        ("task_parents", sql.ORPHANS),
        ("task_schedule", sql.OF_SCHEDULE),
        ("step_pkey", postgres._PASTS),
        ("signal_pkey", postgres._PASTS),
        ("event_pkey", sql.PROGRESS),
        ("idempotency_pkey", sql.KEY),
        ("reference_pkey", postgres._REFERENCED),
        ("session_pkey", sql.SESSION),
        ("session_pkey", sql.STAMP),
        ("session_written", sql.IDLE),
    ],
)
async def test_no_read_of_a_ledger_walks_over_every_row(database: str, index: str, query: str) -> None:
    found = await plan(database, query, BY_INDEX)

    assert f"using {index} on" in found
    assert "Seq Scan" not in found


@pytest.mark.parametrize("query", [sql.READY, sql.WAKES, sql.OVERDUE, sql.SWEEP])
async def test_what_is_read_in_order_is_not_sorted_for_it(database: str, query: str) -> None:
    assert "Sort" not in await plan(database, query, BY_INDEX)
    if query != sql.SWEEP:
        assert "Sort" not in await plan(database, postgres._page(query), BY_INDEX)


async def test_a_commit_finds_its_rows_by_their_keys(database: str) -> None:
    everything = postgres_writes.statement(postgres_writes._OFTEN + postgres_writes._RARE)

    found = await plan(database, everything, BY_INDEX)

    assert re.findall(r"Seq Scan on (\w+)", found) == ["owner"]  # which has one row
    assert "Join" not in found


@pytest.mark.parametrize(
    ("index", "filter"),
    [
        ("task_batch", Filter(batch_id="b1")),
        ("task_trouble", Filter(state="failed")),
        ("task_running", Filter(state="running")),
        ("task_session", Filter(session="s1")),
        ("task_pkey", Filter(agent="echo")),
    ],
)
async def test_a_list_is_found_by_what_narrows_it_most(database: str, index: str, filter: Filter) -> None:
    query, values = sql.listing(postgres._DIALECT, "", filter, "z", 100)

    found = await plan(database, query, BY_FILTER, [f"'{value}'" for value in values])

    assert f"{index} on" in found
