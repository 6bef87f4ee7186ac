"""What the pool wants: how many workers, in which market, and for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agents import Resources
from cluster.nodekinds import NodeKind
from cluster.planning import plan
from cluster.situation import Backlog, Deadline, Memory, Need, Plan, Rules, Situation, Try, Worker, WorkerKind

SPOT_LABEL = {"ray.io/market-type": "spot"}
CPU = NodeKind("cpu", {"CPU": 4}, price=0.4, max_nodes=5)
SPOT = NodeKind("spot", {"CPU": 4}, SPOT_LABEL, price=0.1, max_nodes=5)
GPU = NodeKind("gpu", {"CPU": 4, "GPU": 1}, price=2.0, max_nodes=2)
HERE = NodeKind("here", {"CPU": 2}, min_nodes=1, max_nodes=1)
SIZE = Resources(cpus=1)
NOW = 1000.0


def kind(*backlog: Backlog, name: str = "cpu1", shape: Resources = SIZE, **more: Any) -> WorkerKind:
    return WorkerKind(name, shape, backlog, **more)


def work(queued: int = 0, running: int = 0, service: float | None = 1.0, slots: int = 1, **more: Any) -> Backlog:
    return Backlog("a", slots, queued=queued, running=running, service=service, **more)


def ready(id: str, market: Any = "spot", node: str = "spot", busy: int = 0, idle: float = 0, **more: Any) -> Worker:
    since = None if busy else NOW - idle
    return Worker(id, "cpu1", market, node, NOW - 900, NOW - 890, busy, since, **more)


def asked(id: str, ago: float, market: Any = "spot", node: str = "spot") -> Worker:
    return Worker(id, "cpu1", market, node, NOW - ago)


def planned(*kinds: WorkerKind, nodes: tuple[NodeKind, ...] = (CPU, SPOT), **more: Any) -> Plan:
    return plan(Situation(NOW, kinds, nodes, **{"memory": Memory(at=NOW - 1), **more}))


def remember(workers: int, until: float = NOW + 60) -> Any:
    """A memory in which so many workers were needed."""
    return Memory(
        at=NOW - 1, needs={("cpu1", "all"): (Need(workers, until),), ("cpu1", "on_demand"): (Need(0, until),)}
    )


@pytest.mark.parametrize(
    ("backlog", "workers"),
    [
        # queued, running, seconds each, slots of a worker
        (work(0, 0), 0),
        (work(1, 0), 1),
        (work(100, 0, 0.05), 1),  # many short tasks share a worker
        (work(1000, 0, 0.05, slots=8), 1),
        (work(100_000, 0, 0.05, slots=8), 20),
        (work(100, 0, 1.0), 10),  # which work for ten seconds
        (work(200, 8, 1.0, slots=8), 3),
        (work(5, 0, 3600.0), 5),  # long tasks do not wait for each other
        (work(5, 0, 3600.0, slots=8), 1),
        (work(0, 5, 3600.0), 5),  # what runs counts as what is queued does
        (work(3, 5, 3600.0), 8),
        (work(1, 8, 3600.0, slots=8), 2),
        (work(1, 8, 0.05, slots=8), 1),
        (work(100, 0, None), 1),  # nobody knows yet how long they take
        (work(0, 0, waiting=50), 0),  # what waits for a signal or a time holds no worker
    ],
)
def test_the_work_there_is_says_how_many(backlog: Backlog, workers: int) -> None:
    assert planned(kind(backlog, most=20)).workers("cpu1") == workers


@pytest.mark.parametrize(
    ("start", "workers"),
    [(5.0, 10), (50.0, 2)],
)
def test_where_a_worker_takes_long_to_start_fewer_are_started_for_what_would_be_over_by_then(
    start: float, workers: int
) -> None:
    assert planned(kind(work(100), start=start)).workers("cpu1") == workers


def test_runs_of_which_none_has_ended_take_as_long_as_they_have_lasted() -> None:
    some = kind(work(100, 1, None), most=20)
    first = planned(some)

    later = plan(Situation(NOW + 5, (some,), (CPU, SPOT), memory=first.memory))

    assert (first.workers("cpu1"), later.workers("cpu1")) == (1, 20)


def test_backlogs_of_one_agent_in_two_lanes_are_remembered_apart() -> None:
    some = kind(work(0, 4, 0.05, slots=4), work(0, 1, 0.05, slots=4, lane="other"))

    made = planned(some)

    assert {key[-1]: seen.busy for key, seen in made.memory.seen.items()} == {"": 4, "other": 1}


def test_agents_of_a_kind_add_up() -> None:
    one, other = work(0, 8, 3600.0, slots=8), Backlog("b", 1, queued=2, service=3600.0)

    assert planned(kind(one, other)).workers("cpu1") == 3


@pytest.mark.parametrize(
    ("least", "most", "queued", "workers"),
    [(0, 4, 100, 4), (2, 4, 0, 2), (2, 4, 30, 3), (0, 0, 100, 0), (1, 1, 100, 1)],
)
def test_the_bounds_of_a_kind_hold(least: int, most: int, queued: int, workers: int) -> None:
    assert planned(kind(work(queued), least=least, most=most)).workers("cpu1") == workers


def test_the_bound_of_all_is_shared_by_those_that_want_more() -> None:
    kinds = (kind(work(100)), kind(work(100), name="other"), kind(work(10), name="little"))

    made = planned(*kinds, rules=Rules(most=9))

    assert [made.workers(name) for name in ("cpu1", "other", "little")] == [4, 4, 1]


def test_one_machine_is_shared_and_never_overfilled() -> None:
    made = planned(kind(work(100)), kind(work(100), name="other"), nodes=(HERE,))

    assert [(row.kind, row.market, row.node, row.workers) for row in made.wanted] == [
        ("cpu1", "on_demand", "here", 1),
        ("other", "on_demand", "here", 1),
    ]


def test_who_has_waited_longest_is_served_first_where_there_is_not_room_for_all() -> None:
    kinds = [kind(work(9, oldest=age), name=name) for name, age in (("a", 1.0), ("b", 300.0), ("c", 70.0))]

    made = planned(*kinds, nodes=(HERE,))

    assert [made.workers(name) for name in "abc"] == [0, 1, 1]


def test_idle_workers_make_room_for_others() -> None:
    idle = (ready("w1", "on_demand", "here"), ready("w2", "on_demand", "here"))

    made = planned(kind(), kind(work(9, service=60.0), name="other"), nodes=(HERE,), workers=idle, memory=remember(2))

    assert {ending.worker for ending in made.endings} == {"w1", "w2"}
    assert sum(row.start for row in made.wanted) == 0  # they are still there
    assert planned(kind(), kind(work(9, service=60.0), name="other"), nodes=(HERE,)).workers("other") == 2


@pytest.mark.parametrize(
    ("shape", "market", "nodes", "where"),
    [
        (Resources(cpus=1), "any", (CPU, SPOT), {"spot": 3}),
        (Resources(cpus=1), "spot", (CPU, SPOT), {"spot": 3}),
        (Resources(cpus=1), "on_demand", (CPU, SPOT), {"cpu": 3}),
        (Resources(cpus=1, market="on_demand"), "any", (CPU, SPOT), {"cpu": 3}),
        (Resources(cpus=1, market="spot"), "any", (CPU, SPOT), {"spot": 3}),
        (Resources(cpus=1), "any", (CPU,), {"cpu": 3}),
        (Resources(cpus=1), "any", (SPOT,), {"spot": 3}),
        (Resources(cpus=1), "on_demand", (SPOT,), {}),  # nobody can do it, and nothing is started in vain
        (Resources(cpus=1), "spot", (CPU,), {}),
        (Resources(cpus=1), "any", (replace(CPU, price=0.05), SPOT), {"cpu": 3}),  # spot that is not cheaper
        (Resources(cpus=1), "any", (replace(CPU, min_nodes=1), SPOT), {"cpu": 3}),  # a node that is there anyway
        (Resources(cpus=4), "any", (replace(CPU, min_nodes=1), SPOT), {"cpu": 1, "spot": 2}),
        (Resources(cpus=4), "any", (CPU, replace(SPOT, max_nodes=1)), {"spot": 1, "cpu": 2}),  # spot is full
        (Resources(cpus=1), "any", (GPU, SPOT), {"spot": 3}),
        (Resources(cpus=1), "any", (GPU, replace(SPOT, max_nodes=0)), {"gpu": 3}),
        (Resources(gpus=1), "any", (CPU, SPOT, GPU), {"gpu": 2}),  # there are two
        (Resources(gpus=0.25), "any", (CPU, SPOT, GPU), {"gpu": 3}),
    ],
)
def test_what_is_asked_for_says_where(
    shape: Resources, market: Any, nodes: tuple[NodeKind, ...], where: dict[str, int]
) -> None:
    made = planned(kind(work(3, service=3600.0, market=market), shape=shape), nodes=nodes)

    assert {row.node: row.workers for row in made.wanted if row.workers} == where
    assert {row.node: row.start for row in made.wanted if row.start} == where


def test_the_cheapest_zone_comes_first_and_what_nobody_priced_last() -> None:
    zones = [
        NodeKind(f"spot-{zone}", {"CPU": 4}, SPOT_LABEL, price)
        for zone, price in zip("abc", (None, 0.2, 0.1), strict=True)
    ]

    made = planned(kind(work(1)), nodes=(CPU, *zones))

    assert [row.node for row in made.wanted if row.start] == ["spot-c"]


def test_what_is_on_its_way_is_not_asked_for_again() -> None:
    made = planned(kind(work(3, service=3600.0)), workers=(asked("w1", 5), ready("w2")))

    assert [(row.workers, row.start) for row in made.wanted if row.node] == [(3, 1)]


def test_a_worker_of_a_kind_of_node_that_is_not_known_any_more_is_waited_for_no_longer_than_another() -> None:
    some = kind(work(1, service=3600.0))

    soon = planned(some, workers=(asked("w1", 59, node="gone"),))
    late = planned(some, workers=(asked("w1", 60, node="gone"),))

    assert (soon.endings, sum(row.start for row in soon.wanted)) == ((), 0)
    assert [ending.worker for ending in late.endings] == ["w1"]
    assert sorted(row.node for row in late.wanted if row.start) == ["cpu", "spot"]  # spot anew, and meanwhile on demand


def test_what_runs_on_a_worker_that_drains_needs_no_other() -> None:
    leaving = ready("w1", busy=1, draining=True)

    assert planned(kind(work(0, 1, 3600.0)), workers=(leaving,)).workers("cpu1") == 0
    assert planned(kind(work(1, 1, 3600.0)), workers=(leaving,)).workers("cpu1") == 1


def test_what_was_needed_lately_stays_and_then_goes_the_longest_idle_first() -> None:
    workers = (ready("old", idle=50), ready("busy", busy=1), ready("new", idle=5), asked("coming", 5))
    some = kind(work(0, 1, 3600.0))

    kept = planned(some, workers=workers, memory=remember(4))
    fewer = planned(some, workers=workers, memory=remember(2))
    gone = planned(some, workers=workers, memory=remember(4, until=NOW - 1))

    assert [ending.worker for ending in kept.endings] == []
    assert [ending.worker for ending in fewer.endings] == ["coming", "old"]
    assert [ending.worker for ending in gone.endings] == ["coming", "old", "new"]
    assert "idle" in gone.endings[1].reason


def test_busy_workers_that_are_too_many_end_when_they_are_done() -> None:
    """As they would never be idle for long where short tasks go round among them."""
    workers = tuple(ready(f"w{n}", busy=1) for n in range(3))

    made = planned(kind(work(0, 3, 0.05, slots=8)), workers=workers, memory=remember(1))

    assert made.workers("cpu1") == 1
    assert [ending.reason for ending in made.endings] == [
        "it is not needed any more; it ends when what it runs is over"
    ] * 2


def test_a_pool_that_remembers_nothing_keeps_whom_it_finds() -> None:
    made = planned(kind(), workers=(ready("w1"), ready("w2")), memory=Memory())

    assert made.endings == ()
    assert made.workers("cpu1") == 2


def test_workers_of_a_kind_that_no_agent_has_end() -> None:
    made = planned(kind(work(1)), workers=(replace(ready("w1"), kind="gone"),))

    assert [(ending.worker, ending.reason) for ending in made.endings] == [("w1", "no agent needs its kind any more")]


def test_every_market_that_a_kind_may_use_has_a_sentence() -> None:
    made = planned(kind(work(30)))

    assert [(row.market, row.reason) for row in made.wanted] == [
        ("spot", "30 queued and 0 running of a, 1 s each: that needs 3; 3 of 3 wait for a spot node"),
        ("on_demand", "30 queued and 0 running of a, 1 s each: that needs 3; spot gives all of it"),
    ]


@pytest.mark.parametrize(
    ("left", "on_demand"),
    [
        # 40 tasks of 60 s, one at a time on each of at most 10 workers: four rounds, 245 s with the start
        (3600.0, 0),
        (280.0, 0),  # 0.875 of the time: spot is waited for
        (270.0, 10),  # 0.907: not any more
        (100.0, 10),
        (-1.0, 10),
    ],
)
def test_a_deadline_waits_for_spot_while_there_is_time(left: float, on_demand: int) -> None:
    closed = dict.fromkeys(("spot",), closed_spot())
    backlog = work(40, service=60.0, deadlines=(Deadline(NOW + left, 40),))

    made = planned(kind(backlog, most=10), memory=Memory(at=NOW - 1, tries=closed))

    assert made.workers("cpu1", "on_demand") == on_demand


def test_under_a_deadline_spot_that_is_there_counts() -> None:
    backlog = work(36, 4, service=60.0, deadlines=(Deadline(NOW + 270.0, 36),))
    spot = tuple(ready(f"w{n}", busy=1) for n in range(4))

    made = planned(kind(backlog, most=10), workers=spot)

    assert (made.workers("cpu1", "spot"), made.workers("cpu1", "on_demand")) == (4, 6)


def test_a_deadline_of_work_that_nobody_has_seen_end_does_not_wait_for_spot() -> None:
    backlog = work(4, service=None, deadlines=(Deadline(NOW + 3600.0, 4),))

    made = planned(kind(backlog), memory=Memory(at=NOW - 1, tries={"spot": closed_spot()}))

    assert made.workers("cpu1", "on_demand") == 1


def test_tasks_without_a_deadline_do_not_wait_for_those_with_one() -> None:
    backlog = work(10, service=3600.0, deadlines=(Deadline(NOW + 90_000.0, 5),))

    made = planned(kind(backlog), memory=Memory(at=NOW - 1, tries={"spot": closed_spot()}))

    assert made.workers("cpu1", "on_demand") == 5


def closed_spot() -> Try:
    return Try(1, NOW - 10, NOW + 50)
