"""The benchmark of the ledger, on little: that it measures at all, not how fast anything is."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import ledger, postgres, redis_server
from benchmarks.ledger import Sizes
from benchmarks.marks import marks

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]

SIZES = Sizes(tasks=40, batch=10, rounds=1, tasks_of_steps=20, one_at_a_time=5, backlog=50, probe_seconds=0.05)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return ledger.measure(SIZES, lambda what: None)


def test_every_figure_is_there_and_stands_between_two_probes(found: dict[str, Any]) -> None:
    for name in ("batches", "one_by_one", "steps", "raw_sqlite"):
        assert found[name]["tasks_per_s"] > 0, name
    for name in ("batches", "one_by_one", "steps", "one_at_a_time", "backlog", "raw_sqlite"):
        assert min(found[name]["fdatasync"][when]["per_second"] for when in ("before", "after")) > 0, name
        assert min(found[name]["million_rounds_per_s"].values()) > 0, name
    assert found["batches"]["tasks_per_commit"] >= found["raw_sqlite"]["tasks_per_commit"] / 2 > 0
    assert found["steps"]["steps_per_s"] == 3 * found["steps"]["tasks_per_s"]
    assert 0 < found["one_at_a_time"]["p50_ms"] <= found["one_at_a_time"]["p99_ms"]
    assert found["actor_roundtrip"]["p50_ms"] > 0


def test_a_backlog_waits_while_others_run_and_outlives_a_kill(found: dict[str, Any]) -> None:
    backlog = found["backlog"]

    assert backlog["backlog"] == SIZES.backlog
    assert backlog["share"] == pytest.approx(
        backlog["full"]["tasks_per_s"] / backlog["empty"]["tasks_per_s"], abs=0.001
    )
    assert 0 < backlog["memory"]["pss_mb"] <= backlog["memory"]["peak_rss_mb"]
    assert 0 < backlog["after_kill"]["ready_s"] <= backlog["after_kill"]["accepted_s"]


def test_every_mark_is_made_of_what_was_measured(found: dict[str, Any]) -> None:
    made = marks({"ledger": found})

    assert len(made) == 7 + 2 * ("celery" in found) + 2 * ("postgres" in found)
    assert all(mark["got"] > 0 for mark in made.values())
    assert len(found["measured_elsewhere"]) > 1


def test_celery_is_measured_with_every_kind_of_workers_and_the_best_counts(found: dict[str, Any]) -> None:
    if not redis_server.installed():
        pytest.skip(redis_server.LEFT_OUT)

    celery = found["celery"]
    kinds = [celery[kind] for kind in ("prefork", "solo", "threads")]

    assert celery["tasks_per_s"] == max(kind["tasks_per_s"] for kind in kinds) > 0
    assert celery["p50_ms"] == min(kind["one_at_a_time"]["p50_ms"] for kind in kinds) > 0


def test_what_is_missing_is_said_and_nothing_else_is_left_out(found: dict[str, Any]) -> None:
    missing = [redis_server.LEFT_OUT] if not redis_server.installed() else []

    assert found["left_out"] == missing + list(filter(None, [postgres.missing()]))
