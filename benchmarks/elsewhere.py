"""What others did on another machine: kept to be compared with roughly, and never part of a mark.

Measured by us: 2 cores, 24 GB, 645 fdatasync/s, two workers, a no-op task with 300 bytes; the better of two runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MACHINE = "measured elsewhere, on another machine: 2 cores, 24 GB, 645 fdatasync/s"


class Figures(NamedTuple):
    """Tasks/s from submit to recorded result, without and with one recorded step, and the p50 of one at a time."""

    tasks_per_s: float
    one_step_tasks_per_s: float
    one_at_a_time_p50_ms: float


SYSTEMS = {
    "Restate 1.7.12, Python handler": Figures(859, 607, 4.7),
    "DBOS 3.4, SQLite": Figures(285, 172, 4.0),
    "DBOS 3.4, PostgreSQL": Figures(331, 187, 3.7),
}


def beside(tasks_per_s: float, three_steps_tasks_per_s: float, p50_ms: float) -> dict[str, Any]:
    """Their figures, and ours of this machine as a multiple of them (of tasks with one step: ours with three)."""
    return {"where": MACHINE} | {
        name: {
            **theirs._asdict(),
            "ours_of_here_to_it": {
                "tasks_per_s": round(tasks_per_s / theirs.tasks_per_s, 2),
                "three_steps_to_its_one": round(three_steps_tasks_per_s / theirs.one_step_tasks_per_s, 2),
                "one_at_a_time_p50": round(p50_ms / theirs.one_at_a_time_p50_ms, 2),
            },
        }
        for name, theirs in SYSTEMS.items()
    }
