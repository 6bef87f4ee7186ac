"""What the pool promises: there are as many workers as the work needs, and the ledger hears of each that is gone."""

from __future__ import annotations

import asyncio

import pytest

from agents import Resources
from cluster.claims import AWAY
from cluster.errors import Superseded
from cluster.lanes import Lane
from cluster.nodekinds import NodeKind
from cluster.pool import Death, Found
from cluster.situation import Rules

from .fleets import ELASTIC, SPOT, STEADY, Fleet, Ledger, Running, killed, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions follow each other at once."""
    monkeypatch.setattr("cluster.pool.LOOK", 0.005)
    monkeypatch.setattr("cluster.pool.RESTART_PAUSE", 0.01)


async def test_it_starts_as_many_as_there_should_be_at_least() -> None:
    fleet, ledger = Fleet(), Ledger()
    async with Running(fleet, ledger) as pool:
        await until(lambda: len(fleet.deaths) == 2)

        (line,) = pool.status()
        assert (line["wanted"], line["ready"], line["starting"], line["trouble"]) == (2, 2, 0, None)


async def test_a_dead_worker_is_told_to_the_ledger_and_replaced() -> None:
    fleet, ledger = Fleet(), Ledger()
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2)
        first = fleet.started[0]
        killed(fleet, first)
        await until(lambda: len(fleet.deaths) == 3)

    assert ledger.lost == [(first, True)]


async def test_a_ledger_that_cannot_record_it_is_told_again() -> None:
    fleet, ledger = Fleet(), Ledger()
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2)
        first = fleet.started[0]
        ledger.refusals = 6
        killed(fleet, first)
        await until(lambda: bool(ledger.lost))

    assert (ledger.lost, ledger.refusals) == ([(first, True)], 0)


async def test_a_worker_is_replaced_while_the_ledger_cannot_be_told() -> None:
    fleet, ledger = Fleet(), Ledger()
    ledger.refusals = 100_000
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2)
        killed(fleet, fleet.started[0])
        await until(lambda: len(fleet.deaths) == 3)

    assert ledger.lost == []


async def test_its_next_life_adopts_the_workers_that_are_there() -> None:
    fleet = Fleet(Found("old1", "cpu1", "here"), Found("old2", "cpu1", "here"))
    ledger = Ledger(old1=1, old2=1)
    async with Running(fleet, ledger) as pool:
        await until(lambda: fleet.deaths.keys() == {"old1", "old2"})
        await until(lambda: pool.status()[0]["ready"] == 2)

    assert fleet.started == []
    assert ledger.lost == []


async def test_a_worker_that_went_with_its_node_while_no_pool_watched_is_told_to_the_ledger() -> None:
    fleet, ledger = Fleet(Found("old1", "cpu1", "here")), Ledger(old1=1)
    fleet.lost.add("old1")
    async with Running(fleet, ledger) as pool:
        await until(lambda: len(fleet.deaths) == 2)

        assert pool.status()[0]["trouble"] is None
    assert ledger.lost == [("old1", False)]


async def test_replicas_that_hold_claims_are_not_its_to_report() -> None:
    fleet, ledger = Fleet(), Ledger(**{"replica-1": 1, "gone": 1})
    async with Running(fleet, ledger):
        await until(lambda: bool(ledger.lost))

    assert ledger.lost == [("gone", True)]


async def test_nor_are_workers_of_another_cluster_of_which_nobody_here_knows() -> None:
    fleet, ledger = Fleet(), Ledger(**{f"{AWAY}w1": 1, f"{AWAY}replica-1": 1, "gone": 1})
    async with Running(fleet, ledger):
        await until(lambda: bool(ledger.lost))
        await asyncio.sleep(0.05)

    assert ledger.lost == [("gone", True)]


async def test_where_the_ledger_has_lost_its_store_nobody_is_started() -> None:
    fleet, ledger = Fleet(), Ledger()
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2)
        ledger.trouble, ledger.refusals = Superseded("another cluster has the store"), 1_000_000
        await until(lambda: ledger.refusals < 1_000_000 - 5)  # nothing is decided any more by an answer of before
        for death in list(fleet.deaths.values()):
            death.set_result(Death(fault=False, detail="it ended as it was asked to"))
        refused = ledger.refusals
        await until(lambda: ledger.refusals < refused - 20)

        assert len(fleet.started) == 2
        ledger.refusals = 0
        await until(lambda: len(fleet.started) == 4)


async def test_it_reports_those_that_died_while_no_pool_watched() -> None:
    fleet, ledger = Fleet(Found("old1", "cpu1", "here")), Ledger(old1=1, dead=2)
    async with Running(fleet, ledger):
        await until(lambda: len(fleet.deaths) == 2 and bool(ledger.lost))

    assert ledger.lost == [("dead", True)]


async def test_workers_of_a_kind_that_is_not_wanted_finish_what_they_hold() -> None:
    fleet = Fleet(Found("stray", "cpu1.earlier", "here"))
    async with Running(fleet, Ledger()):
        await until(lambda: len(fleet.deaths) == 3)
        await until(lambda: bool(fleet.drained))

    assert fleet.drained == [("stray", None)]


async def test_a_worker_that_does_not_start_is_tried_again_and_its_reason_is_shown() -> None:
    fleet = Fleet()
    fleet.refusals = 4
    async with Running(fleet, Ledger()) as pool:
        await until(lambda: fleet.refusals == 0)
        assert "no model" in str(pool.status()[0]["trouble"])
        await until(lambda: len(fleet.deaths) == 2)
        await until(lambda: pool.status()[0]["trouble"] is None)


async def test_from_nothing_to_work_and_back_to_nothing() -> None:
    fleet, ledger = Fleet(kinds=(STEADY,)), Ledger()
    async with Running(fleet, ledger, ELASTIC, Rules(idle=0.05, patience=60)) as pool:
        await asyncio.sleep(0.05)
        assert fleet.started == []

        ledger.queue(9)
        await until(lambda: len(fleet.deaths) == 3)  # of three slots each
        assert "9 queued" in str(pool.status()[0]["why"])

        ledger.queue(0, running=9)
        ledger.held = dict.fromkeys(fleet.started, 3)
        await asyncio.sleep(0.1)
        assert fleet.drained == []

        ledger.queue(0)
        ledger.held = {}
        await until(lambda: len(ledger.lost) == 3)
        assert {id for id, _ in fleet.drained} == set(fleet.started)


async def test_a_spot_node_that_does_not_come_is_not_waited_for_beyond_patience() -> None:
    fleet, ledger = Fleet(kinds=(SPOT, STEADY)), Ledger()
    fleet.hung.add("spot")
    ledger.queue(3)
    async with Running(fleet, ledger, ELASTIC, Rules(idle=60, patience=0.1)):
        await until(lambda: bool(fleet.where))
        assert set(fleet.where.values()) == {"spot"}
        await until(lambda: bool(fleet.deaths))

    (ready,) = fleet.deaths
    assert fleet.where[ready] == "steady"
    assert fleet.withdrawn


async def test_workers_of_a_node_that_goes_are_replaced_before() -> None:
    fleet, ledger = Fleet(kinds=(STEADY,)), Ledger()
    ledger.queue(0, running=3)
    async with Running(fleet, ledger, ELASTIC) as pool:
        await until(lambda: len(fleet.deaths) == 1)
        (first,) = fleet.started
        ledger.held = {first: 3}
        fleet.leaving = frozenset([f"node of {first}"])
        await until(lambda: len(fleet.deaths) == 2)

        (line,) = pool.status()
        assert (line["ready"], line["draining"]) == (1, 1)
    assert fleet.drained == []  # it knows, and ends by itself


async def test_nobody_is_ended_while_the_ledger_does_not_say_what_there_is_to_do() -> None:
    fleet, ledger = Fleet(kinds=(STEADY,)), Ledger()
    ledger.queue(3)
    async with Running(fleet, ledger, ELASTIC, Rules(idle=0.01, patience=60)):
        await until(lambda: len(fleet.deaths) == 1)
        ledger.queue(0)
        ledger.refusals = 100_000
        await asyncio.sleep(0.1)
        assert fleet.drained == []


async def test_steps_that_ask_for_a_gpu_get_workers_of_their_own_where_there_are_some() -> None:
    fleet, ledger = Fleet(kinds=(STEADY, NodeKind("gpu", {"CPU": 1, "GPU": 1}, max_nodes=1))), Ledger()
    ledger.queue(2, lane=Lane(shape=Resources(gpus=1)).text)
    async with Running(fleet, ledger, ELASTIC) as pool:
        await until(lambda: len(fleet.deaths) == 1)

        runs, steps = pool.status()
        assert (runs["wanted"], steps["wanted"], steps["kind"], steps["agents"]) == (0, 1, "gpu1-little", ["little"])
    assert set(fleet.where.values()) == {"gpu"}
