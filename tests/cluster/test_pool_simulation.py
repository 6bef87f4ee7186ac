"""What becomes of the work, the nodes and the bill where the plan is followed: a cluster simulated second by second."""

from __future__ import annotations

import math
import os
import secrets
from dataclasses import replace
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import Resources
from cluster.nodekinds import NodeKind
from cluster.situation import Memory, Rules

from .pool_simulation import RULES, Agent, Bill, Cluster, Task, Weather, at_once, by_chance, changing

pytestmark = pytest.mark.slow

SPOT_LABEL = {"ray.io/market-type": "spot"}
CPU = NodeKind("cpu", {"CPU": 4}, price=0.4, max_nodes=5)
SPOT = NodeKind("spot", {"CPU": 4}, SPOT_LABEL, price=0.1, max_nodes=5)
GPU = NodeKind("gpu", {"CPU": 4, "GPU": 1}, price=2.0, max_nodes=2)
ZONES = [NodeKind(f"spot-{z}", {"CPU": 4}, SPOT_LABEL | {"zone": z}, p, 0, 5) for z, p in (("a", 0.1), ("b", 0.12))]
ONE = Agent("a")
ON_DEMAND = Agent("a", shape=Resources(cpus=1, market="on_demand"))


def check(cluster: Cluster) -> Bill:
    """All work is done, and of workers and nodes there are none but those that always are."""
    least = cluster.bounds[0]
    assert [task for task in cluster.tasks if task.ends is None] == []
    assert len(cluster.hands) == least
    if not least:
        assert len(cluster.machines) == sum(kind.min_nodes for kind in cluster.nodes)
    return cluster.bill


def late(cluster: Cluster) -> int:
    return sum(1 for task in cluster.tasks if task.deadline and (task.ends or math.inf) > task.deadline)


def test_from_nothing_to_work_and_back_to_nothing() -> None:
    cluster = Cluster([ONE], [CPU, SPOT], at_once("a", 200, 1.0))

    cluster.run(200)

    bill = check(cluster)
    assert bill.first_result is not None
    assert bill.first_result < 15
    assert bill.last_result < 60
    assert bill.empty_at <= bill.last_result + RULES.idle * 1.25 + 10
    assert bill.seconds["cpu"] == 0  # spot gave all of it


def test_short_tasks_share_a_warm_worker() -> None:
    cluster = Cluster([Agent("a", slots=8)], [CPU, SPOT], by_chance("a", 20.0, 300, 0.05, seed=1))

    cluster.run(400)

    assert check(cluster).starts <= 2


def test_on_demand_takes_over_where_spot_is_refused_or_does_not_come() -> None:
    cases: list[tuple[Weather, float]] = [("refused", 2.0), ("hangs", RULES.patience + 1)]
    for weather, most in cases:
        cluster = Cluster([ONE], [CPU, SPOT], at_once("a", 100, 20.0), weather=changing({"spot": [(0.0, weather)]}))

        cluster.run(600)

        bill = check(cluster)
        assert bill.seconds["spot"] == 0
        assert bill.first_result is not None
        assert bill.first_result <= most + cluster.launch + 20 + 2


def test_spot_that_is_back_is_used_again_and_nothing_stops_meanwhile() -> None:
    tasks = [Task("a", float(n), 20.0) for n in range(600)]
    cluster = Cluster([ONE], [CPU, SPOT], tasks, weather=changing({"spot": [(0, "refused"), (200, "fine")]}), most=24)

    cluster.run(900)

    bill = check(cluster)
    assert bill.seconds["spot"] > 5 * 60
    last = [plan for plan in cluster.plans[450:550] if plan.workers("of-1-0-any", "on_demand")]
    assert last == []
    assert max((task.ends or 0) - task.arrives for task in cluster.tasks[250:]) < 60


def test_every_zone_is_tried_before_another_market() -> None:
    for weather in ("refused", "hangs"):
        cluster = Cluster([ONE], [CPU, *ZONES], at_once("a", 100, 20.0), weather=changing({"spot-a": [(0, weather)]}))

        cluster.run(600)

        bill = check(cluster)
        assert (bill.seconds["spot-a"], bill.seconds["cpu"]) == (0, 0)
        assert bill.seconds["spot-b"] > 0


def test_work_that_asks_for_spot_waits_for_ever() -> None:
    for weather in ("refused", "hangs"):
        changes = changing({"spot": [(0, weather), (1000, "fine")]})
        cluster = Cluster([ONE], [CPU, SPOT], at_once("a", 20, 5.0, market="spot"), weather=changes)

        cluster.run(1700)

        bill = check(cluster)
        assert bill.seconds["cpu"] == 0
        assert bill.starts < 60  # it is not asked for each second anew


def test_nodes_that_take_longer_than_the_patience_are_waited_for_where_there_are_no_others() -> None:
    cluster = Cluster([ONE], [CPU], at_once("a", 100, 20.0), launch=100.0)

    cluster.run(500)

    bill = check(cluster)
    assert bill.most["on_demand"] > 10
    assert bill.starts < 2 * bill.most["on_demand"]  # they are not asked for anew


def test_only_what_asks_for_a_gpu_starts_a_node_with_one() -> None:
    graphics = Agent("g", slots=2, shape=Resources(gpus=1))
    cpu = Cluster([ONE, graphics], [CPU, SPOT, GPU], at_once("a", 50, 5.0))
    both = Cluster([ONE, graphics], [CPU, SPOT, GPU], at_once("a", 50, 5.0) + at_once("g", 8, 10.0))

    cpu.run(200)
    both.run(300)

    assert check(cpu).seconds["gpu"] == 0
    assert check(both).seconds["gpu"] > 0
    assert max(plan.workers("of-0-1-any") for plan in both.plans) <= 2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spot": [(0, "hangs")]},
        {"spot": [(200, "taken")]},
        {"spot": [(100, "taken"), (400, "fine"), (500, "taken")]},
        {"spot": [(at, "taken" if at % 200 else "fine") for at in range(100, 2000, 100)]},
    ],
)
def test_deadlines_are_kept_where_spot_vanishes(changes: Any) -> None:
    known = [Task("a", 0.0, 1.0)]
    tasks = at_once("a", 200, 20.0, deadline=1200.0)
    cluster = Cluster([ONE], [CPU, SPOT], known + tasks, weather=changing(changes))
    without = Cluster([ON_DEMAND], [CPU, SPOT], at_once("a", 200, 20.0, deadline=1200.0))

    bill, other = cluster.run(1400), without.run(1400)

    check(cluster)
    assert late(cluster) == 0
    print(f"{bill.cost:.3f} USD of {other.cost:.3f} on demand, {bill.lost} runs lost, {dict(bill.seconds)}")
    # Where spot never came, a node was half empty for long, until there was no more time to wait.
    assert bill.cost < other.cost * (1 if bill.seconds["spot"] else 1.6)


@pytest.mark.parametrize("seed", range(2))
def test_a_day_of_chance_costs_less_than_on_demand(seed: int) -> None:
    weather = changing({"spot": [(300, "taken"), (301, "refused"), (600, "fine"), (1100, "hangs"), (1500, "fine")]})
    cluster = Cluster([ONE], [CPU, SPOT], by_chance("a", 0.5, 2000, 20.0, seed), weather=weather)
    without = Cluster([ON_DEMAND], [CPU, SPOT], by_chance("a", 0.5, 2000, 20.0, seed))

    bill, other = cluster.run(3000), without.run(3000)

    check(cluster)
    print(f"seed {seed}: {bill.cost:.3f} USD of {other.cost:.3f} on demand, {bill.starts} starts")
    assert bill.cost < 0.7 * other.cost


@pytest.mark.parametrize("load", [(2.0, 1.0, 1), (0.3, 20.0, 1), (8.0, 0.5, 4), (1.0, 10.0, 8)])
def test_a_noisy_demand_starts_few_workers(load: tuple[float, float, int]) -> None:
    """Of as many as the tasks keep busy on average: what comes by chance is served by workers that are there. Of one
    such demand chance may make anything, so this is the mean of six."""
    rate, seconds, slots = load
    starts, first = [], int(os.environ.get("RUBATO_SEED") or secrets.randbits(32))
    print(f"RUBATO_SEED={first}")
    for seed in range(first, first + 6):
        tasks = by_chance("a", rate, 600, seconds, seed)
        cluster = Cluster([Agent("a", slots)], [CPU, SPOT], tasks, rules=Rules(1024, 60, 30))

        cluster.run(900)

        bill = check(cluster)
        assert bill.ends == bill.starts
        starts.append(bill.starts)
    assert mean(starts) <= 6 + 4 * rate * seconds / slots


skies = st.sampled_from(["fine", "refused", "hangs", "taken"])
weathers: Any = st.lists(st.tuples(st.integers(0, 500), skies), max_size=5)


@settings(max_examples=10, deadline=None)
@given(weathers, weathers, st.integers(0, 10**6), st.integers(0, 3))
def test_whatever_the_weather_all_work_is_done_and_all_nodes_leave(
    spot: Any, other: Any, seed: int, least: int
) -> None:
    weather = changing(
        {
            "spot-a": [*sorted(spot), (500, "fine")],
            "spot-b": [*sorted(other), (500, "fine")],
            "cpu": [(at, then) for at, then in sorted(other) if then != "taken"] + [(500, "fine")],
        }
    )
    tasks = by_chance("a", 0.4, 300, 15.0, seed)
    cluster = Cluster([ONE], [CPU, *ZONES], tasks, weather=weather, least=least)

    cluster.run(1600)

    check(cluster)
    assert cluster.bill.starts < 40 * (5 + len(spot) + len(other))


def test_a_constant_demand_has_a_constant_answer() -> None:
    tasks = [Task("a", n / 2, 20.0) for n in range(1600)]  # ten at a time
    cluster = Cluster([ONE], [CPU, SPOT], tasks)

    cluster.run(700)

    answers = {
        tuple((row.market, row.node, row.workers, row.start) for row in plan.wanted) for plan in cluster.plans[200:]
    }
    assert len(answers) == 1
    assert all(not plan.endings for plan in cluster.plans[200:])


def test_a_pool_that_was_started_anew_does_not_begin_again() -> None:
    cluster = Cluster([ONE], [CPU, SPOT], [Task("a", n / 2, 20.0) for n in range(800)])
    cluster.run(200)
    starts = cluster.bill.starts

    cluster.memory = Memory()
    cluster.run(100)

    assert cluster.bill.starts == starts
    assert cluster.bill.ends == 0


def test_the_least_stay_and_the_most_are_never_passed() -> None:
    cluster = Cluster([ONE], [replace(CPU, min_nodes=1)], at_once("a", 100, 5.0), least=2, most=6)

    cluster.run(300)

    assert check(cluster).most["on_demand"] == 6
