"""Which marks hold, as plain decisions over figures."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.marks import at_least, at_most, marks, table, wait_ms
from benchmarks.realtime import faster

FAST = {"per_second": 1000.0, "p50_ms": 1.0}
SLOW = {"per_second": 100.0, "p50_ms": 10.0}


def probed(**figures: float) -> dict[str, Any]:
    return {**figures, "fdatasync": {"before": FAST, "after": FAST}}


LEDGER = {
    "actor_roundtrip": {"p50_ms": 0.8},
    "batches": probed(tasks_per_s=9_000),
    "one_by_one": probed(tasks_per_s=1_400),
    "steps": probed(tasks_per_s=3_000),
    "one_at_a_time": probed(p50_ms=7.9),
}


def test_a_mark_that_is_reached_exactly_holds() -> None:
    assert at_least(10, 10)["holds"]
    assert at_most(10, 10)["holds"]
    assert not at_least(10, 9.99)["holds"]
    assert not at_most(10, 10.01)["holds"]


def test_a_mark_in_absolute_figures_says_what_the_disk_allows() -> None:
    fast, slow = (at_least(8_000, 4_000, {"before": disk, "after": disk}) for disk in (FAST, SLOW))

    assert (fast["disk_is_fast_enough"], fast["tasks_per_fdatasync"]) == (True, 4.0)
    assert (slow["disk_is_fast_enough"], slow["tasks_per_fdatasync"]) == (False, 40.0)


def test_one_task_may_take_two_syncs_and_what_the_actors_of_this_machine_take() -> None:
    assert wait_ms({"before": FAST, "after": SLOW}, roundtrip_ms=0.8) == pytest.approx(2 * 5.5 + 6.0)
    assert wait_ms({"before": FAST, "after": FAST}, roundtrip_ms=1.6) == pytest.approx(2.0 + 12.0)


def test_a_contender_that_was_left_out_has_no_marks() -> None:
    made = marks({"ledger": LEDGER})

    assert {name for name, mark in made.items() if not mark["holds"]} == {"ledger_one_by_one_tasks_per_s"}
    assert not any("celery" in name or "postgres" in name or "backlog" in name for name in made)


def test_every_promise_has_its_mark() -> None:
    celery = {"tasks_per_s": 901.0, "p50_ms": 8.0}
    backlog = {"share": 0.79, "memory": {"pss_mb": 500.0}, "after_kill": {"accepted_s": 10.0}}
    postgres = {"batches": {"tasks_per_s": 4_500}, "one_by_one": {"tasks_per_s": 600}}

    made = marks({"ledger": {**LEDGER, "celery": celery, "backlog": backlog, "postgres": postgres}})

    assert {name for name, mark in made.items() if not mark["holds"]} == {
        "ledger_one_by_one_tasks_per_s",
        "ledger_batches_of_celery",
        "ledger_backlog_share",
        "ledger_postgres_one_by_one_of_sqlite",
    }
    assert len(made) == 11
    assert len(table(made).splitlines()) == 12


def test_of_two_measures_the_one_counts_that_is_harder_to_beat() -> None:
    one = {"generator": "wrk", "1": {"p50_ms": 1.0}, "16": {"requests_per_s": 900.0, "p50_ms": 9.0}}
    other = {"generator": "wrk", "1": {"p50_ms": 0.9}, "16": {"requests_per_s": 800.0, "p50_ms": 8.0}}

    assert faster(one, other) == {"generator": "wrk", "1": other["1"], "16": one["16"]}
    assert faster(other, one) == faster(one, other)


def test_marks_of_real_time_are_held_against_bare_and_stock() -> None:
    times = {"p50_ms": 1.0, "p99_ms": 40.0}
    found = {
        "bare": {"1": {"p50_ms": 0.5}, "16": {"requests_per_s": 1000.0}, "first_event": {"p50_ms": 0.25}},
        "stock": {"16": {"requests_per_s": 50.0}},
        "realtime": {
            "1": {"p50_ms": 1.0},
            "16": {"requests_per_s": 700.0},
            "kept": {"p50_ms": 1.1},
            "first_event": {"p50_ms": 1.0},
            "turn": {"p50_ms": 0.29, "bare": {"p50_ms": 0.1}},
            "sockets": {
                "remembers": {"p50_ms": 2.4},
                "commit_ms": 2.0,
                "idle": {"memory_grew_mb": 20.0},
            },
            "handover": {"p99_s": 0.6},
            "overload": {"accepted": times, "refused": times, "other": 0, "memory_grew_mb": 1.0},
        },
    }

    made = marks(found)

    assert {name for name, mark in made.items() if not mark["holds"]} == {
        "realtime_kept_p50_of_bare",
        "realtime_turn_that_remembers_p50_ms",
        "realtime_handover_p99_s",
    }
    assert made["realtime_of_stock_serve_at_16"]["got"] == 14
    assert made["realtime_first_event_p50_of_bare"]["ratio"] == 0.8
    assert made["realtime_overload_neither"] == {"at_most": 0, "got": 0, "ratio": 0.0, "holds": True}
