"""Workers of an earlier version stay for tasks that are to finish with it, and where none is left these go on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agents import Resources
from cluster.client import Demand
from cluster.lanes import Lane, line
from cluster.older import Old, Serving, staying, stranded
from cluster.pool import Found
from cluster.situation import Rules

from .fleets import ELASTIC, FIXED, SLOW, STEADY, Fleet, Ledger, Running, killed, until

V1 = Lane(version="v1").text
FINISHING = replace(FIXED, mark="new", versions={"little": "v2"})
OLD = Serving({"little": "v1"}, (line("little", V1),), {"little": 3})
NEW = Serving({"little": "v2"}, (line("little", Lane(version="v2").text),), {"little": 3})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions follow each other at once."""
    monkeypatch.setattr("cluster.pool.LOOK", 0.005)
    monkeypatch.setattr("cluster.pool.RESTART_PAUSE", 0.01)


def upgraded(*old: str, **held: int) -> tuple[Fleet, Ledger]:
    """Workers of an earlier version are there, and say so."""
    fleet = Fleet(*(Found(id, "cpu1.old", "here") for id in old))
    fleet.serving = dict.fromkeys(old, OLD)
    return fleet, Ledger(**held)


def version(queued: int = 0, running: int = 0, waiting: int = 0, lane: str = V1) -> Demand:
    return Demand("little", lane, queued, running, waiting, 0.0, SLOW, 0.0, ())


async def test_workers_of_an_earlier_version_stay_as_long_as_tasks_are_to_finish_with_it() -> None:
    fleet, ledger = upgraded("old")
    ledger.work = (version(waiting=1),)
    async with Running(fleet, ledger, FINISHING) as pool:
        await until(lambda: len(fleet.deaths) == 3 and len(fleet.told) == 3)
        await asyncio.sleep(0.1)
        assert (fleet.drained, ledger.released) == ([], [])
        assert sorted(fleet.told) == sorted([("old", True), *((id, False) for id in fleet.started)])
        _, earlier = pool.status()
        assert (earlier["kind"], earlier["workers"], earlier["agents"]) == ("cpu1 (earlier)", ["old"], ["little"])
        assert "0 queued, 0 running and 1 waiting of little go on with version v1" in str(earlier["why"])

        ledger.work = ()
        await until(lambda: fleet.drained == [("old", None)])
        await until(lambda: len(pool.status()) == 1)


async def test_nobody_is_ended_and_nothing_let_go_before_all_have_said_what_they_have() -> None:
    fleet, ledger = upgraded("old", "silent")
    fleet.silent = {"silent"}
    fleet.slow = {"old"}
    ledger.work = (version(queued=1),)
    async with Running(fleet, ledger, FINISHING):
        await until(lambda: len(fleet.deaths) == 3)  # of the silent one, and of two new ones
        await asyncio.sleep(0.1)
        assert (fleet.drained, fleet.withdrawn, ledger.released) == ([], [], [])

        fleet.slow, fleet.silent = set(), set()
        await until(lambda: len(fleet.drained) == 1)  # one is enough
        await asyncio.sleep(0.05)
        assert ledger.released == []


async def test_where_none_is_left_its_tasks_are_let_go_again_and_again_until_there_are_none() -> None:
    fleet, ledger = upgraded("old", old=1)
    ledger.work = (version(queued=0, running=1, waiting=2),)
    async with Running(fleet, ledger, FINISHING):
        await until(lambda: len(fleet.deaths) == 3)
        ledger.refusals = 3
        killed(fleet, "old")
        ledger.work = (version(queued=1, waiting=2),)
        await until(lambda: len(ledger.released) >= 2)

    assert set(ledger.released) == {("little", V1)}
    assert fleet.drained == []


async def test_what_waits_for_the_version_that_is_served_now_is_work_for_it() -> None:
    fleet, ledger = Fleet(kinds=(STEADY,)), Ledger()
    ledger.work = (version(queued=6, lane=Lane(version="v2").text), version(queued=3, lane=""))
    async with Running(fleet, ledger, replace(FINISHING, least=0, most=8)):
        await until(lambda: len(fleet.deaths) == 3)  # of three slots each
        await asyncio.sleep(0.05)

    assert ledger.released == []


async def test_a_version_stays_no_longer_than_it_may() -> None:
    fleet, ledger = upgraded("old")
    fleet.serving["old"] = OLD._replace(old_for=100.0)
    ledger.work = (version(waiting=1),)
    async with Running(fleet, ledger, FINISHING, Rules(old_versions=100.2)):
        await until(lambda: len(fleet.told) == 3)
        assert fleet.drained == []
        await until(lambda: fleet.drained == [("old", None)])
        ledger.work = (version(queued=1),)
        await until(lambda: bool(ledger.released))


async def test_where_there_is_room_for_one_of_both_the_version_of_now_comes_first() -> None:
    fleet, ledger = upgraded("old")
    fleet.hung.add("here")
    ledger.work = (version(waiting=1),)
    async with Running(fleet, ledger, FINISHING, Rules(patience=0.4)):
        await until(lambda: bool(fleet.started))
        await asyncio.sleep(0.1)
        assert fleet.drained == []
        await until(lambda: fleet.drained == [("old", None)])


async def test_a_version_that_is_back_takes_all_again() -> None:
    fleet = Fleet(Found("first", "cpu1.new", "here"), Found("second", "cpu1.new", "here"))
    async with Running(fleet, Ledger(), FINISHING):
        await until(lambda: len(fleet.told) == 2)

    assert sorted(fleet.told) == [("first", False), ("second", False)]


async def test_a_worker_that_was_there_and_answers_late_is_not_ended_with_what_it_holds() -> None:
    fleet, ledger = Fleet(Found("late", "cpu1.old", "here"), kinds=(STEADY,)), Ledger(late=1)
    fleet.slow = {"late"}
    async with Running(fleet, ledger, ELASTIC):
        await asyncio.sleep(0.1)
        assert fleet.withdrawn == []
        fleet.slow = set()
        await until(lambda: fleet.drained == [("late", None)])


@pytest.mark.parametrize(
    ("old", "work", "stay"),
    [
        (["a", "b"], [], []),
        (["a", "b"], [version(waiting=9)], ["a"]),
        (["a", "b"], [version(queued=3, waiting=9)], ["a"]),
        (["a", "b"], [version(queued=4)], ["a", "b"]),
        (["a", "b"], [version(queued=99, running=3)], ["a", "b"]),
        (["a", "b"], [version(waiting=9, lane="")], []),
        (["a", "b"], [version(waiting=9, lane=Lane(version="v0").text)], []),
        (["a", "b"], [version(waiting=9, lane=Lane(shape=Resources(gpus=1), version="v1").text)], []),
    ],
)
def test_as_many_of_an_earlier_version_stay_as_its_tasks_need(
    old: list[str], work: list[Demand], stay: list[str]
) -> None:
    workers = [Old(id, "cpu1.old", OLD) for id in old]

    assert list(staying(workers, work, 60)) == stay


def test_the_busiest_of_an_earlier_version_stay_and_none_for_too_long() -> None:
    tired = Old("tired", "cpu1.old", OLD._replace(old_for=61.0), 3)

    assert list(staying([Old("a", "k", OLD), Old("b", "k", OLD, 1), tired], [version(waiting=1)], 60)) == ["b"]


@pytest.mark.parametrize(
    ("work", "current", "old", "gone"),
    [
        (version(queued=1), [NEW], [], True),
        (version(queued=1), [], [], True),  # those that are to come have v2
        (version(queued=1), [NEW], [OLD], False),
        (version(queued=1), [OLD], [], False),  # the version is back, whatever was deployed
        (version(waiting=1), [NEW], [], False),  # there is time until they wake
        (version(queued=1, lane=""), [NEW], [], False),
        (version(queued=1, lane=Lane(version="v2").text), [NEW], [], False),
        (version(queued=1, lane=Lane(version="v2").text), [], [], False),  # it will come
        (version(queued=1, lane=Lane(version="v2").text), [Serving(slots={"little": 1})], [], True),  # others came
        (version(queued=1)._replace(agent="gone"), [NEW], [OLD], True),
        (version(queued=1, lane=Lane(shape=Resources(gpus=1), version="v1").text), [NEW], [OLD], True),
        (version(queued=1, lane=Lane(shape=Resources(gpus=1), version="v2").text), [NEW], [], False),
    ],
)
def test_tasks_are_let_go_whose_version_nobody_has(
    work: Demand, current: list[Serving], old: list[Serving], gone: bool
) -> None:
    assert bool(stranded([work], [FINISHING], current, old)) is gone
