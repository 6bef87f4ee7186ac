"""What an operator may rely on who scrapes the gateway, and that docs/metrics.md says it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from cluster.ledger import Ledger
from cluster.stats import Measures
from deployments.gateway import metrics
from deployments.gateway.collector import LedgerCollector
from tests.deployments.ledgers import Hand, Unreachable

from .catalogs import catalog
from .conftest import Build, reaching

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
AGENTS = [name for name, entry in catalog().items() if entry.agent.background is not None]
PROC = Path("/proc/self").exists()  # elsewhere a process cannot say much of itself
STATES = ("queued", "running", "waiting", "completed", "failed", "canceled")

Values = dict[str, dict[tuple[tuple[str, str], ...], float]]


@pytest.fixture
async def client(build: Build, ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    """Of an application of its own: it keeps what it has seen for a while."""
    async with reaching(build(ledger)) as client:
        yield client


async def scraped(client: httpx.AsyncClient) -> Values:
    """Each series by its name, then by its labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return values(list(read_plain(answer.text)))


def values(families: list[Metric]) -> Values:
    found: Values = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = tuple(sorted(sample.labels.items()))
        assert labels not in found.setdefault(sample.name, {})
        found[sample.name][labels] = sample.value
    return found


def of(agent: str, **labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"agent": agent, **labels}.items()))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look is kept for the next."""
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr("cluster.measuring.LOOK_SECONDS", 0.0)


async def test_each_agents_series_are_there_before_anything_has_happened(client: httpx.AsyncClient) -> None:
    found = await scraped(client)

    assert found["rubato_ledger_up"] == {(): 1.0}
    assert set(found["rubato_tasks"].values()) == {0.0}
    assert {(name["agent"], name["state"]) for name in map(dict, found["rubato_tasks"])} == {
        (agent, state) for agent in AGENTS for state in STATES
    }
    assert found["rubato_tasks_ended_total"][of("both", state="failed")] == 0.0
    assert found["rubato_oldest_queued_seconds"] == {of(agent): 0.0 for agent in AGENTS}
    assert not PROC or found["process_open_fds"][()] > 0


@pytest.mark.usefixtures("at_once")
async def test_a_tasks_life_is_counted_at_each_move(client: httpx.AsyncClient, hand: Hand) -> None:
    async def submit(agent: str) -> None:
        await client.post("/v1/tasks", json={"agent": agent, "input": {"text": "hello"}})

    await submit("both")
    done = await hand.take()
    await submit("both")
    failed = await hand.take()
    await submit("later")
    before = await scraped(client)
    await hand.complete(done, '{"text":"done"}')
    await hand.fail(failed, '{"type":"t","title":"t","detail":"d"}')
    after = await scraped(client)

    def tasks(found: Values, agent: str) -> dict[str, float]:
        numbers = {state: found["rubato_tasks"][of(agent, state=state)] for state in STATES}
        return {state: number for state, number in numbers.items() if number}

    assert (tasks(before, "both"), tasks(before, "later")) == ({"running": 2.0}, {"queued": 1.0})
    assert (tasks(after, "both"), tasks(after, "later")) == ({"completed": 1.0, "failed": 1.0}, {"queued": 1.0})
    assert before["rubato_oldest_queued_seconds"][of("later")] > 0
    assert after["rubato_dead_letters"] == {of(agent): float(agent == "both") for agent in AGENTS}
    assert after["rubato_tasks_accepted_total"][of("both")] == 2.0
    assert after["rubato_claims_total"][of("both")] == after["rubato_attempts_total"][of("both")] == 2.0
    assert before["rubato_tasks_ended_total"][of("both", state="completed")] == 0.0
    assert after["rubato_tasks_ended_total"][of("both", state="completed")] == 1.0
    assert after["rubato_task_wait_seconds_count"] == after["rubato_task_run_seconds_count"] == {of("both"): 2.0}


@pytest.mark.usefixtures("at_once")
async def test_what_a_limit_holds_is_counted_by_agent(client: httpx.AsyncClient, ledger: Ledger, hand: Hand) -> None:
    await ledger.pause("later", 4_000_000_000.0)
    for agent in ("both", "later"):
        await client.post("/v1/tasks", json={"agent": agent, "input": {"text": "hello"}})
    await hand.take()

    assert (await scraped(client))["rubato_limits_held"] == {of(agent): float(agent == "later") for agent in AGENTS}


@pytest.mark.usefixtures("at_once")
async def test_a_histograms_buckets_are_cumulative_and_end_in_all(client: httpx.AsyncClient, hand: Hand) -> None:
    for _ in range(5):
        await client.post("/v1/tasks", json={"agent": "both", "input": {"text": "hello"}})
        await hand.complete(await hand.take(), '{"text":"done"}')

    found = await scraped(client)

    for name in ("rubato_task_wait_seconds", "rubato_task_run_seconds", "rubato_tick_seconds", "rubato_tick_moves"):
        buckets = [(dict(labels).pop("le"), value) for labels, value in found[f"{name}_bucket"].items()]
        bounds, counts = [float(bound) for bound, _ in buckets], [count for _, count in buckets]
        assert bounds == sorted(bounds)
        assert counts == sorted(counts)
        assert (bounds[-1], counts[-1]) == (float("inf"), next(iter(found[f"{name}_count"].values())))
    assert found["rubato_task_wait_seconds_count"][of("both")] == 5.0
    assert found["rubato_task_wait_seconds_sum"][of("both")] > 0


async def test_openmetrics_is_answered_to_who_asks_for_it(client: httpx.AsyncClient) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"

    answer = await client.get("/metrics", headers={"Accept": accept})

    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.text.endswith("# EOF\n")
    families = list(read_open(answer.text))  # type: ignore[no-untyped-call]  # the only one there without types
    assert values(families).keys() == (await scraped(client)).keys()


async def test_a_ledger_that_is_away_is_a_metric_and_no_error(build: Build) -> None:
    async with reaching(build(Unreachable())) as client:
        found = await scraped(client)

    assert found["rubato_ledger_up"] == {(): 0.0}
    assert [name for name in found if name.startswith("rubato_")] == ["rubato_ledger_up"]
    assert not PROC or found["process_resident_memory_bytes"][()] > 0


class Silent:
    """A ledger that never answers."""

    async def measures(self) -> Any:
        await asyncio.Event().wait()


async def test_a_silent_ledger_is_given_up_before_prometheus_gives_up(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert metrics.PATIENCE < 10  # Prometheus' own
    monkeypatch.setattr(metrics, "PATIENCE", 0.05)
    silent: Any = Silent()

    async with reaching(build(silent)) as client:
        assert (await scraped(client))["rubato_ledger_up"] == {(): 0.0}


async def test_however_many_scrape_the_ledger_is_asked_once(
    build: Build, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, ask = [], ledger.measures

    async def measures() -> Measures:
        calls.append(1)
        return await ask()

    monkeypatch.setattr(ledger, "measures", measures)
    async with reaching(build(ledger)) as client:
        await asyncio.gather(*(client.get("/metrics") for _ in range(10)))

    assert len(calls) == 1


async def exported(ledger: Ledger, hand: Hand, client: httpx.AsyncClient) -> set[tuple[str, str, str]]:
    """(name, type, labels) of each metric of ours, once each has a series."""
    await client.post("/v1/tasks", json={"agent": "both", "input": {"text": "hello"}})
    await hand.complete(await hand.take(), '{"text":"done"}')
    families = LedgerCollector(await ledger.measures(), ()).collect()
    suffix = {"counter": "_total"}
    return {(f"{each.name}{suffix.get(each.type, '')}", each.type, ", ".join(labels(each))) for each in families}


def labels(family: Metric) -> list[str]:
    (names,) = {tuple(name for name in sample.labels if name != "le") for sample in family.samples}
    return sorted(names)


def series_of(name: str, type: str, _: str) -> list[str]:
    return [f"{name}{suffix}" for suffix in ("_bucket", "_count", "_sum")] if type == "histogram" else [name]


async def test_the_page_lists_what_is_exported_and_nothing_else(
    ledger: Ledger, hand: Hand, client: httpx.AsyncClient
) -> None:
    rows = re.findall(r"^\| `(rubato_\w+)` \| (\w+) \| ([\w, ]*?) *\|", PAGE.read_text(), re.MULTILINE)

    assert len(rows) == len(set(rows))
    assert set(rows) == await exported(ledger, hand, client)


async def test_no_query_on_the_page_asks_for_a_series_that_is_not_there(
    ledger: Ledger, hand: Hand, client: httpx.AsyncClient
) -> None:
    series = {name for each in await exported(ledger, hand, client) for name in series_of(*each)}
    queries = re.findall(r"```promql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    asked = set(re.findall(r"\brubato_\w+", "".join(queries)))

    assert len(queries) >= 5
    assert asked <= series
