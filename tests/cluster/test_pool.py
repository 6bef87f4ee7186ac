"""What the pool promises: there are as many workers as are wanted, and the ledger hears of each that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from agents import Agent, Background, Context, Resources
from agents.catalog import Entry
from cluster.errors import Unavailable
from cluster.pool import Death, Kind, Pool, StartFailed, kinds


class Little(Agent[int, int]):
    """One CPU."""

    name = "little"
    background = Background(resources=Resources(cpus=1), slots=3)

    async def run(self, ctx: Context, number: int) -> int:
        return number


class Also(Little):
    """One CPU too."""

    name = "also"


class Big(Little):
    """Four CPUs and a GPU."""

    name = "big"
    background = Background(resources=Resources(cpus=4, gpus=1))


class Live(Agent[int, int]):
    """Has no background."""

    name = "live"
    background = None

    async def run(self, ctx: Context, number: int) -> int:
        return number


def entries(*agents: type[Agent[int, int]]) -> list[Entry]:
    return [Entry(f"m:{agent.__name__}", agent, "v") for agent in agents]


def test_agents_of_one_shape_share_a_kind_and_live_ones_have_none() -> None:
    found = kinds(entries(Little, Big, Also, Live), workers=2, cpus=100)

    assert [(kind.name, kind.slots, kind.count) for kind in found] == [
        ("cpu1", {"little": 3, "also": 3}, 2),
        ("cpu4-gpu1", {"big": 8}, 2),
    ]


def test_each_kind_knows_all_agents_that_its_runs_may_call() -> None:
    found = kinds(entries(Little, Big, Live), workers=2, cpus=100)

    assert [set(kind.callees) for kind in found] == [{"little", "big"}] * 2
    assert found[0].callees["big"] == found[1].callees["big"]
    assert found[0].callees["little"].max_attempts == 3


@pytest.mark.parametrize(("cpus", "counts"), [(10, [2, 2]), (5, [1, 1]), (1, [1, 1])])
def test_where_cpus_are_short_each_kind_gets_fewer_but_one_at_least(cpus: float, counts: list[int]) -> None:
    assert [kind.count for kind in kinds(entries(Little, Big), workers=2, cpus=cpus)] == counts


KIND = Kind("cpu1", ("m:Little",), {"little": 3}, Resources(cpus=1), 2)


class Fleet:
    """Workers that live until the test ends them."""

    def __init__(self, *alive: tuple[str, str]) -> None:
        self._alive = list(alive)
        self.deaths: dict[str, asyncio.Future[Death]] = {}
        self.started = 0
        self.refusals = 0
        self.stopped: list[str] = []

    def alive(self) -> list[tuple[str, str]]:
        return self._alive

    async def start(self, kind: Kind) -> str:
        if self.refusals:
            self.refusals -= 1
            raise StartFailed("setup raised ValueError: no model")
        self.started += 1
        return f"new{self.started}"

    async def watch(self, id: str) -> Death:
        self.deaths[id] = asyncio.get_running_loop().create_future()
        return await self.deaths[id]

    async def stop(self, id: str) -> None:
        self.stopped.append(id)


class Ledger:
    """Keeps what it is told."""

    def __init__(self, *holders: str) -> None:
        self._holders = holders
        self.lost: list[tuple[str, bool]] = []
        self.refusals = 0

    async def worker_lost(self, worker: str, *, fault: bool) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("the store does not answer")
        self.lost.append((worker, fault))

    async def holders(self) -> list[str]:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("the ledger is starting")
        return list(self._holders)


class Running:
    """A pool at work."""

    def __init__(self, fleet: Fleet, ledger: Ledger) -> None:
        self.pool = Pool([KIND], fleet, ledger)

    async def __aenter__(self) -> Pool:
        self._run = asyncio.create_task(self.pool.run())
        return self.pool

    async def __aexit__(self, *_: object) -> None:
        self._run.cancel()
        with suppress(asyncio.CancelledError):
            await self._run


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_it_starts_as_many_as_are_wanted() -> None:
    fleet, ledger = Fleet(), Ledger()
    async with Running(fleet, ledger) as pool:
        await until(lambda: len(fleet.deaths) == 2)

        assert [(kind["wanted"], kind["ready"], kind["trouble"]) for kind in pool.status()] == [(2, 2, None)]


async def test_a_dead_worker_is_told_to_the_ledger_and_replaced() -> None:
    fleet, ledger = Fleet(), Ledger()
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2)
        fleet.deaths["new1"].set_result(Death(fault=True, detail="killed"))
        await until(lambda: "new3" in fleet.deaths)

    assert ledger.lost == [("new1", True)]


async def test_a_ledger_that_cannot_record_it_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.pool.RESTART_PAUSE", 0.001)
    fleet, ledger = Fleet(), Ledger()
    ledger.refusals = 3
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2)
        fleet.deaths["new1"].set_result(Death(fault=True, detail="killed"))
        await until(lambda: bool(ledger.lost))

    assert (ledger.lost, ledger.refusals) == ([("new1", True)], 0)


async def test_a_worker_is_replaced_while_the_ledger_cannot_be_told() -> None:
    fleet, ledger = Fleet(), Ledger()
    ledger.refusals = 1000
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2)
        fleet.deaths["new1"].set_result(Death(fault=True, detail="killed"))
        await until(lambda: "new3" in fleet.deaths)

    assert ledger.lost == []


async def test_its_next_life_adopts_the_workers_that_are_there() -> None:
    fleet, ledger = Fleet(("old1", "cpu1"), ("old2", "cpu1")), Ledger("old1", "old2")
    async with Running(fleet, ledger):
        await until(lambda: fleet.deaths.keys() == {"old1", "old2"})

    assert fleet.started == 0
    assert ledger.lost == []


async def test_replicas_that_hold_claims_are_not_its_to_report() -> None:
    fleet, ledger = Fleet(), Ledger("replica-1", "gone")
    async with Running(fleet, ledger):
        await until(lambda: bool(ledger.lost))

    assert ledger.lost == [("gone", True)]


async def test_it_reports_those_that_died_while_no_pool_watched() -> None:
    fleet, ledger = Fleet(("old1", "cpu1")), Ledger("old1", "dead")
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2)

    assert ledger.lost == [("dead", True)]


async def test_it_begins_while_the_ledger_starts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.pool.RESTART_PAUSE", 0.001)
    fleet, ledger = Fleet(), Ledger("gone")
    ledger.refusals = 3
    async with Running(fleet, ledger):
        await until(lambda: bool(ledger.lost) and len(fleet.deaths) == 2)

    assert ledger.lost == [("gone", True)]


async def test_it_stops_workers_of_a_kind_that_is_not_wanted() -> None:
    fleet = Fleet(("stray", "gpu9"))
    async with Running(fleet, Ledger()):
        await until(lambda: len(fleet.deaths) == 2)

    assert fleet.stopped == ["stray"]


async def test_a_worker_that_does_not_start_is_tried_again_and_its_reason_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster.pool.RESTART_PAUSE", 0.05)
    fleet = Fleet()
    fleet.refusals = 2
    async with Running(fleet, Ledger()) as pool:
        await until(lambda: fleet.refusals == 0)
        assert "no model" in str(pool.status()[0]["trouble"])
        await until(lambda: len(fleet.deaths) == 2)

        assert pool.status()[0]["trouble"] is None
