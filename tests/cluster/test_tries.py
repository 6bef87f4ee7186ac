"""Which kinds of nodes are asked for, given up for a while, and asked for again."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from cluster.nodekinds import NodeKind
from cluster.situation import Memory, Rules, Situation, Try, Worker
from cluster.tries import OPEN, may_start, observed

NOW = 1000.0
PATIENCE = 60.0
ONE, TWO = (NodeKind(name, {"CPU": 4}, {"ray.io/market-type": "spot"}) for name in ("one", "two"))
FAILED = Try(1, NOW - 10, NOW + 50)  # closed
OVER = Try(1, NOW - 70, NOW - 10)  # to be tried again
TWICE = Try(2, NOW - 200, NOW - 80)


def worker(node: str, asked: float, ready: float | None = None, **more: Any) -> Worker:
    """Times in seconds ago."""
    return Worker(f"{node}{asked}", "cpu1", "spot", node, NOW - asked, None if ready is None else NOW - ready, **more)


def after(before: Try, *workers: Worker, refused: float | None = None, nodes: Any = (ONE, TWO)) -> Try:
    """How it stands with the first kind after what was seen."""
    return observed(
        Situation(
            NOW,
            (),
            nodes,
            workers,
            {} if refused is None else {"one": NOW - refused},
            Rules(patience=PATIENCE),
            Memory(tries={"one": before}),
        )
    )["one"]


@pytest.mark.parametrize(
    ("before", "workers", "refused", "then"),
    [
        (OPEN, (), None, OPEN),
        (OPEN, (worker("one", 59),), None, OPEN),
        (OPEN, (worker("one", 60),), None, Try(1, NOW, NOW + 60)),
        (OPEN, (worker("one", 60, draining=True),), None, Try(1, NOW, NOW + 60)),
        (OPEN, (), 1, Try(1, NOW, NOW + 60)),
        (OPEN, (), 61, OPEN),  # a refusal from before this pool
        (OPEN, (worker("one", 20, 5),), 10, OPEN),  # it was had since
        (OPEN, (worker("one", 20, 10),), 5, Try(1, NOW, NOW + 60)),  # there are no more of it
        (FAILED, (worker("one", 100),), 1, FAILED),  # once is enough
        (FAILED, (worker("one", 100, 5),), None, OPEN),  # it came late
        (FAILED, (worker("one", 100, 50),), None, FAILED),  # that came before
        (OVER, (), None, OVER),
        (OVER, (worker("one", 100),), None, OVER),  # that was asked for before
        (OVER, (), 20, OVER),  # and that was refused before
        (OVER, (), 5, Try(2, NOW, NOW + 120)),
        (TWICE, (worker("one", 60),), None, Try(3, NOW, NOW + 240)),
        (Try(9, NOW - 2000, NOW - 100), (), 1, Try(10, NOW, NOW + 960)),
        (OPEN, (worker("one", 40), worker("two", 10, 1)), None, Try(1, NOW, NOW + 60)),  # the other came first
        (OPEN, (worker("one", 40), worker("two", 50, 1)), None, OPEN),  # and was asked for first
        (OPEN, (worker("one", 40), worker("two", 20, 1)), None, OPEN),  # before this one's turn was over
        (OPEN, (worker("one", 40), worker("one", 10, 1)), None, OPEN),  # in room that became free here
    ],
)
def test_a_kind_that_fails_is_left_alone_for_longer_each_time(
    before: Try, workers: tuple[Worker, ...], refused: float | None, then: Try
) -> None:
    assert after(before, *workers, refused=refused) == then


def test_whoever_waits_for_nodes_that_are_there_waits_for_room() -> None:
    here = NodeKind("one", {"CPU": 1}, min_nodes=1, max_nodes=1)

    assert observed(Situation(NOW, (), (here,), (worker("one", 900),))) == {}


@pytest.mark.parametrize(
    ("tried", "workers", "allowed"),
    [
        (OPEN, (), None),
        (FAILED, (), 0),
        (OVER, (), 1),
        (OVER, (worker("one", 5),), 0),  # one is on its way
        (OVER, (worker("one", 50),), 1),  # that one was asked for before
        (OVER, (worker("two", 5),), 1),
    ],
)
def test_it_is_tried_again_with_one_worker(tried: Try, workers: tuple[Worker, ...], allowed: int | None) -> None:
    assert may_start(ONE, {"one": tried}, workers, NOW) == allowed


def test_a_kind_that_never_failed_is_open() -> None:
    assert Try(0, -inf, -inf) == OPEN
    assert not OPEN.closed(0)
