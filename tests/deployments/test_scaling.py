"""How many replicas there are for how much work: at once enough, and no more when that is over."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.autoscaling_state import _resolve_policy_callable
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingContext, AutoscalingPolicy

from agents import Realtime
from deployments.scaling import Bounds, Need, Sample, Scaling, Work, needed, plan, work_of
from deployments.serving import _scale

from .fleet import Fleet, context

pytestmark = pytest.mark.slow

BOUNDS = Bounds(least=1, most=10, slots=8, cooldown=60)
BUSY = Work(running=20)  # needs 4 replicas


@pytest.mark.parametrize(
    ("work", "slots", "replicas"),
    [
        (Work(), 8, 0),
        (Work(running=1), 8, 1),
        (Work(running=5.5), 8, 1),
        (Work(running=6), 8, 2),
        (Work(running=8), 8, 2),
        (Work(running=72), 8, 11),
        (Work(running=0.3), 1, 1),
        (Work(running=1), 1, 2),
        (Work(running=8, waiting=16), 8, 4),  # nobody knows how long they take
        (Work(running=8, waiting=16, arrivals=80, service=0.1), 8, 2),  # the line is over in a moment
        (Work(running=8, waiting=16, service=60), 8, 4),
        (Work(running=8, waiting=16, arrivals=200, service=0.1), 8, 4),  # more come than are let in
        (Work(running=3, arrivals=1, service=30), 8, 5),  # what comes will pile up
        (Work(arrivals=1000), 8, 0),
    ],
)
def test_there_are_replicas_for_what_runs_comes_and_waits(work: Work, slots: int, replicas: int) -> None:
    assert needed(work, slots) == replicas


@pytest.mark.parametrize(
    ("what", "work", "needs", "target"),
    [
        ("more at once", BUSY, [Need(1, 1060)], 4),
        ("fewer only later", Work(), [Need(4, 1001)], 4),
        ("fewer when the last need of more is over", Work(), [Need(4, 1000), Need(2, 1060)], 2),
        ("the least", Work(), [Need(4, 1000)], 1),
        ("the most", Work(running=500), [Need(1, 1060)], 10),
        ("what there is, where nobody says anything", None, [Need(1, 1060)], 3),
        ("what there is, where nothing is remembered", Work(), [], 3),
        ("more than there is, where nothing is remembered", BUSY, [], 4),
    ],
)
def test_the_target_is(what: str, work: Work | None, needs: list[Need], target: int) -> None:
    assert plan(work, BOUNDS, needs, now=1000, target=3).target == target


def test_a_plan_says_why() -> None:
    line = Work(running=8, waiting=2.5, arrivals=10.2, service=0.61)

    more = plan(line, BOUNDS, (), now=0, target=1)
    kept = plan(Work(), BOUNDS, more.needs, now=1, target=2)
    most = plan(Work(running=500), BOUNDS, (), now=0, target=1)
    nobody = plan(None, BOUNDS, (), now=0, target=1)

    assert more.reason == "8.0 runs and 2.5 in line, 10.2/s of 0.61 s each: that needs 2 with 8 slots"
    assert kept.reason.endswith("that needs 0 with 8 slots, and 2 were needed lately")
    assert most.reason.endswith("that needs 66 with 8 slots, of 1 to 10")
    assert nobody.reason == "no replica has said what there is to do"


STEPS = st.lists(st.tuples(st.floats(0.1, 40), st.floats(0, 200) | st.none()), max_size=60)


@given(steps=STEPS, least=st.integers(1, 4), more=st.integers(0, 9))
def test_a_target_rises_at_once_and_never_falls_below_what_was_needed_lately(
    steps: list[tuple[float, float | None]], least: int, more: int
) -> None:
    bounds, now, target = Bounds(least, least + more, 8, 60), 1_000_000.0, least
    needs: tuple[Need, ...] = ()
    lately: list[tuple[float, int]] = []
    for seconds, running in steps:
        now += seconds
        made = plan(None if running is None else Work(running=running), bounds, needs, now=now, target=target)
        if running is not None:
            lately.append((now, max(least, min(least + more, needed(Work(running=running), 8)))))

        assert least <= made.target <= least + more
        assert made.target >= max((need for at, need in lately if at > now - 60), default=least)
        if made.target < target:
            assert all(need <= made.target for at, need in lately if at > now - 60)
        assert made.target <= max([target, *(need for at, need in lately[-1:])])
        assert list(made.needs) == sorted(made.needs, reverse=True)
        assert len(made.needs) <= least + more
        needs, target = made.needs, made.target


def said(*values: float, every: float = 0.5, start: float = 7e8) -> list[Sample]:
    return [Sample(start + place * every, value) for place, value in enumerate(values)]


def test_the_work_is_that_of_all_replicas_over_the_same_time() -> None:
    long = {"running": said(8, 8, 8, 4), "waiting": said(4, 4, 0, 0), "arrived": said(100, 118, 136, 154)}
    young = {"running": said(4, start=5), "waiting": said(0, start=5), "arrived": said(0, 10, start=5)}

    work = work_of([{**long, "service": said(1, 0.5)}, {**young, "service": said(0, 0)}])

    assert work == Work(running=8, waiting=2, arrivals=(64 - 8) / 1.5, service=0.5)


def test_what_a_replica_has_not_said_is_nothing() -> None:
    assert work_of([]) is None
    assert work_of([{}]) == Work()
    assert work_of([{"running": said(3), "arrived": said(7)}]) == Work(running=3)
    assert work_of([{"arrived": [Sample(5, 1), Sample(5, 9)]}]) == Work()


def test_a_counter_that_begins_again_counts_for_nothing() -> None:
    assert work_of([{"arrived": said(100, 5)}, {"arrived": said(0, 16)}]) == Work(arrivals=(16 - 4) / 0.5)


def metrics(**by_name: list[Sample]) -> dict[str, Any]:
    return {name: {"replica": series} for name, series in by_name.items()}


def test_open_sockets_are_no_work() -> None:
    """Serve counts a WebSocket as a request for as long as it is open; its count is not even looked at."""

    class Ctx(SimpleNamespace):
        @property
        def total_num_requests(self) -> float:
            raise AssertionError("asked for")

    idle = metrics(running=said(0, 0), waiting=said(0, 0), arrived=said(9, 9), service=said(1, 1))
    idle["running_requests"] = {"replica": said(1000, 1000)}

    target, kept = Scaling(slots=8)(Ctx(**vars(context(idle, now=5.0, target=1))))

    assert (target, kept) == (1, {})


def test_a_policy_that_begins_anew_keeps_what_there_is() -> None:
    scaling = Scaling(slots=8)

    targets = [scaling(context({}, now=now, target=5))[0] for now in (100.0, 101.0)]
    idle = metrics(running=said(0, 0))
    targets += [scaling(context(idle, now=now, target=5))[0] for now in (102.0, 160.0, 177.0)]

    assert targets == [5, 5, 5, 5, 1]


def test_serve_takes_the_target_as_it_is_both_ways_and_at_once() -> None:
    """It would wait, and move by a part of the way only, where its own settings said so."""
    options = _scale(Realtime(slots=8, max_replicas=10))["autoscaling_config"]
    policy = _apply_autoscaling_config(_resolve_policy_callable(options.policy))

    def decided(running: float, now: float, target: int) -> int:
        facts = vars(context(metrics(running=said(running, running)), now=now, target=target))
        del facts["raw_metrics"], facts["app_name"]
        ctx = AutoscalingContext(
            deployment_id=None,
            deployment_name="elastic",
            app_name="agent-elastic",
            current_num_replicas=1,  # the others have yet to start
            running_replicas=[],
            total_num_requests=1000.0,
            total_queued_requests=0.0,
            aggregated_metrics={},
            raw_metrics=lambda: metrics(running=said(running, running)),
            policy_state={},
            last_scale_up_time=None,
            last_scale_down_time=None,
            config=options,
            **facts,
        )
        return int(policy(ctx)[0])

    assert [decided(20, 100, 1), decided(0, 101, 4), decided(0, 200, 4)] == [4, 4, 1]


def test_serves_controller_can_run_the_policy_where_nothing_of_ours_is(tmp_path: Any) -> None:
    """As where a Serve that others have started takes our agents."""
    pickled = tmp_path / "policy"
    pickled.write_bytes(AutoscalingPolicy(policy_function=Scaling).get_serialized_policy_def())
    script = """
import json, pickle, sys
from types import SimpleNamespace as Any
scaling = pickle.load(open(sys.argv[1], "rb"))(slots=8)
said = {"running": {"a": [Any(timestamp=1, value=20)]}}
ctx = Any(raw_metrics=said, current_time=1, target_num_replicas=1, app_name="a")
ctx.capacity_adjusted_min_replicas, ctx.capacity_adjusted_max_replicas = 1, 10
print(json.dumps([scaling(ctx)[0], [name for name in sys.modules if name.split(".")[0] == "deployments"]]))
"""

    told = subprocess.run(
        [sys.executable, "-I", "-c", script, str(pickled)], capture_output=True, text=True, check=True
    )

    assert json.loads(told.stdout) == [4, []]


@pytest.mark.parametrize(
    ("slots", "takes", "before", "after", "enough"),
    [
        (8, 0.1, 10, 200, 4),
        (8, 1.0, 2, 20, 4),
        (4, 0.02, 20, 600, 4),
        (1, 0.3, 0.5, 8, 4),
        (8, 5.0, 0.2, 6, 5),
        (16, 0.5, 0.1, 100, 4),
        (8, 2.0, 0, 10, 4),
    ],
)
def test_a_step_in_load_raises_the_target_within_3_s_and_it_falls_when_that_is_long_over(
    slots: int, takes: float, before: float, after: float, enough: int
) -> None:
    fleet = Fleet(lambda now: after if 100 <= now < 200 else before, takes, slots, 2 * slots, least=1, most=10)
    fleet.run_until(100)
    calm = fleet.target

    fleet.run_until(103)
    assert fleet.target > calm
    fleet.run_until(120)
    assert fleet.target >= enough
    refused = fleet.refused
    fleet.run_until(200)
    assert fleet.refused == refused
    high = fleet.target
    fleet.run_until(259)
    assert fleet.target >= min(high, enough)
    fleet.run_until(300)
    assert fleet.target <= 2
    falls = sum(1 for (_, one), (_, next) in zip(fleet.targets, fleet.targets[1:], strict=False) if next < one)
    assert falls <= 4


@pytest.mark.parametrize(("slots", "takes", "rate"), [(8, 0.1, 10), (8, 0.5, 50), (4, 1, 10), (8, 2, 40), (1, 0.2, 1)])
def test_a_load_that_stays_the_same_moves_the_target_little(slots: int, takes: float, rate: float) -> None:
    """Callers come at random, for ten minutes."""
    fleet = Fleet(lambda now: rate, takes, slots, 2 * slots, least=1, most=30, chance=Random(1))
    fleet.run_until(60)
    settled, refused = len(fleet.targets), fleet.refused

    fleet.run_until(600)

    assert len(fleet.targets) - settled <= 6
    assert fleet.refused == refused
    assert max(target for _, target in fleet.targets) <= 1.5 * needed(Work(running=rate * takes), slots) + 1
