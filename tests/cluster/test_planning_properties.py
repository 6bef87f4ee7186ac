"""What holds of every plan, whatever the situation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import Resources
from cluster.nodekinds import NodeKind, fits, room
from cluster.planning import plan
from cluster.situation import Backlog, Deadline, Memory, Rules, Situation, Try, Worker, WorkerKind

pytestmark = pytest.mark.slow

NOW = 1000.0
NAMES = ("cpu", "spot-a", "spot-b", "gpu", "here", "gone")
SHAPES = (
    Resources(),
    Resources(cpus=1),
    Resources(cpus=4),
    Resources(gpus=0.5),
    Resources(cpus=1, market="spot"),
    Resources(cpus=2, market="on_demand"),
    Resources(cpus=99),
)

shapes = st.sampled_from(SHAPES)
brought = st.sampled_from(["cpu", "spot-a", "spot-b"])
markets: Any = st.sampled_from(["any", "spot", "on_demand"])
ages = st.floats(0, 500)
deadlines = st.lists(st.builds(Deadline, st.floats(NOW - 100, NOW + 5000), st.integers(1, 50)), max_size=3).map(tuple)
backlogs: Any = st.builds(
    Backlog,
    st.sampled_from(["a", "b"]),
    st.integers(1, 16),
    markets,
    st.integers(0, 500),
    st.integers(0, 20),
    st.integers(0, 5),
    st.none() | st.floats(0.001, 5000),
    ages,
    deadlines,
)


@st.composite
def situations(draw: Any) -> Situation:
    rows = st.lists(backlogs, max_size=3, unique_by=lambda row: row.key)
    bounds = st.tuples(st.sampled_from("xyz"), st.integers(0, 3), st.integers(0, 20))
    kinds = tuple(
        WorkerKind(name, draw(shapes), tuple(draw(rows)), least, least + more)
        for name, least, more in draw(st.lists(bounds, max_size=3, unique_by=lambda it: it[0]))
    )
    prices = st.none() | st.floats(0, 5)
    nodes = (
        NodeKind("cpu", {"CPU": 4}, {}, draw(prices), *sorted((draw(st.integers(0, 3)), draw(st.integers(0, 8))))),
        NodeKind("spot-a", {"CPU": 4}, {"ray.io/market-type": "spot"}, draw(prices), 0, draw(st.integers(0, 5))),
        NodeKind("spot-b", {"CPU": 8}, {"ray.io/market-type": "spot"}, draw(prices), 0, draw(st.integers(0, 5))),
        NodeKind("gpu", {"CPU": 4, "GPU": 1}, {}, draw(prices), 0, draw(st.integers(0, 2))),
        NodeKind("here", {"CPU": 2}, {}, None, 1, 1),
    )
    chosen = tuple(draw(st.lists(st.sampled_from(nodes), unique_by=lambda kind: kind.name)))
    workers = []
    for number in range(draw(st.integers(0, 12))):
        asked = NOW - draw(ages)
        ready = draw(st.none() | st.floats(asked, NOW))
        busy = draw(st.integers(0, 4)) if ready else 0
        market = draw(st.sampled_from(["spot", "on_demand"]))
        name = draw(st.sampled_from(["x", "y", "stray"]))
        node = draw(st.sampled_from(NAMES))
        workers.append(Worker(f"w{number}", name, market, node, asked, ready, busy, ready, draw(st.booleans())))
    failed = st.tuples(brought, st.integers(1, 5), st.floats(-40, 200))
    tries = {name: Try(times, NOW - 50, NOW + left) for name, times, left in draw(st.lists(failed, max_size=2))}
    refused = draw(st.dictionaries(brought, st.floats(NOW - 100, NOW), max_size=2))
    rules = Rules(draw(st.integers(1, 40)), draw(st.floats(1, 100)), draw(st.floats(1, 100)))
    return Situation(NOW, kinds, chosen, tuple(workers), refused, rules, Memory(NOW - 1, tries))


@settings(max_examples=100, deadline=None)
@given(situations())
def test_a_plan_keeps_within_what_there_may_be(situation: Situation) -> None:
    made = plan(situation)

    nodes = {kind.name: kind for kind in situation.nodes}
    kinds = {kind.name: kind for kind in situation.kinds}
    started: Counter[str] = Counter()
    for row in made.wanted:
        started[row.kind] += row.start
        assert 0 <= row.start <= row.workers
        assert row.reason
        if row.start:
            shape, node = kinds[row.kind].shape, nodes[row.node]
            assert fits(shape, node)
            assert node.market == row.market
            there = sum(1 for worker in situation.workers if (worker.kind, worker.node) == (row.kind, row.node))
            assert row.start + there <= max(
                there, room(kinds[row.kind].shape, nodes[row.node].resources) * nodes[row.node].max_nodes
            )
    for name, kind in kinds.items():
        assert started[name] <= kind.most * (1 + len(nodes))  # each zone may be asked for all that lack
        assert started[name] == 0 or kind.least or any(row.queued + row.running for row in kind.backlog)


@settings(max_examples=100, deadline=None)
@given(situations())
def test_whom_a_plan_ends_is_there_and_not_wanted(situation: Situation) -> None:
    made = plan(situation)

    ended = [ending.worker for ending in made.endings]
    staying = {worker.id: worker for worker in situation.workers if not worker.draining}
    assert len(set(ended)) == len(ended)
    assert set(ended) <= staying.keys()
    kinds = {kind.name for kind in situation.kinds}
    assert {worker.id for worker in staying.values() if worker.kind not in kinds} <= set(ended)
    counted = Counter((row.kind, row.market) for row in made.wanted for _ in range(row.workers - row.start))
    left = Counter((worker.kind, worker.market) for worker in staying.values() if worker.id not in ended)
    assert counted == left


@settings(max_examples=40, deadline=None)
@given(situations())
def test_the_same_situation_has_the_same_plan(situation: Situation) -> None:
    assert plan(situation) == plan(situation)


@settings(max_examples=50, deadline=None)
@given(situations(), st.integers(2, 6))
def test_a_demand_that_stays_has_an_answer_that_stays(situation: Situation, looks: int) -> None:
    """Where all that is asked for comes at once and nothing else changes, the second answer starts nobody, and nobody
    goes that was just asked for."""
    now, memory, workers = situation.now, Memory(), [worker for worker in situation.workers if worker.ready_at]
    new: set[str] = set()
    for look in range(looks):
        made = plan(Situation(now, situation.kinds, situation.nodes, tuple(workers), {}, situation.rules, memory))
        ended = {ending.worker for ending in made.endings}
        starts = sum(row.start for row in made.wanted)
        if look:
            assert not ended & new
        workers = [worker for worker in workers if worker.id not in ended]
        if look > 1:
            assert starts == 0
        for row in made.wanted:
            for number in range(row.start):
                id = f"{look}-{row.kind}-{row.node}-{number}"
                new.add(id)
                workers.append(Worker(id, row.kind, row.market, row.node, now, now, 0, now))
        memory = made.memory
