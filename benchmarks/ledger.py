"""`bench ledger`: the background against its promises, each contender alone and in turn, in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import backlog, batches, celery_peer, elsewhere, postgres, probe, raw, redis_server, roundtrip, singly, waiting
from .local import ECHO, Local, rubato, scratch, status

Found = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; only the smoke test takes less."""

    tasks: int = 20_000
    batch: int = 1_000
    rounds: int = 3
    tasks_of_steps: int = 10_000
    one_at_a_time: int = 300
    backlog: int = 1_000_000  # 0: leave it out
    probe_seconds: float = probe.SECONDS


def measure(sizes: Sizes, say: Say) -> Found:
    """Every figure beside its probe, and a line for each contender that had to be left out."""
    found: Found = {"left_out": []}
    with scratch() as folder:
        say("one actor asks another, in a Ray of their own")
        found["actor_roundtrip"] = roundtrip.measure(folder)
        if redis_server.installed():
            say(f"Celery on a durable Redis: {sizes.tasks:,} tasks, then one at a time; for each kind of workers")
            how = {"tasks": sizes.tasks, "one_at_a_time": sizes.one_at_a_time}
            found["celery"] = beside_probe(folder, sizes, lambda: celery_peer.measure(folder, **how))
        else:
            found["left_out"].append(redis_server.LEFT_OUT)
        with rubato(*backlog.AGENTS) as local:
            found |= on_sqlite(local, sizes, say)
            say("the rows of these tasks are read")
            written = raw.read(Path(status(local)["store"]), "echo", sizes.tasks)
        say("SQLite alone, with the ledger's rows and commits of its size")
        group = found["batches"]["tasks_per_commit"]
        found["raw_sqlite"] = beside_probe(folder, sizes, lambda: raw.measure(folder, written, group))
    if why := postgres.missing():
        found["left_out"].append(why)
    else:
        with postgres.database() as url:
            found["postgres"] = on_postgres(url, sizes, say)
    figures = found["batches"]["tasks_per_s"], found["steps"]["tasks_per_s"], found["one_at_a_time"]["p50_ms"]
    return {**found, "measured_elsewhere": elsewhere.beside(*figures)}


def on_sqlite(local: Local, sizes: Sizes, say: Say) -> Found:
    """All that one Rubato is asked to do; the backlog last, which it keeps."""
    folder, found = local.folder, {}
    say(f"{sizes.tasks:,} tasks in batches, {sizes.rounds} times")
    found["batches"] = _batches(local, sizes, folder)
    say(f"{sizes.tasks:,} tasks one by one")
    found["one_by_one"] = beside_probe(folder, sizes, lambda: singly.measure(local.url, sizes.tasks))
    say(f"{sizes.tasks_of_steps:,} tasks of three steps, {sizes.rounds} times")
    found["steps"] = beside_probe(folder, sizes, lambda: _steps(local, sizes))
    say(f"{sizes.one_at_a_time} tasks one at a time")
    found["one_at_a_time"] = beside_probe(folder, sizes, lambda: waiting.measure(local.url, sizes.one_at_a_time))
    if sizes.backlog:
        say(f"a backlog of {sizes.backlog:,} tasks; it takes minutes")
        how = {"backlog": sizes.backlog, "tasks": sizes.tasks, "batch": sizes.batch, "rounds": 2 * sizes.rounds - 1}
        found["backlog"] = beside_probe(folder, sizes, lambda: backlog.measure(local, **how))
    return found


def on_postgres(url: str, sizes: Sizes, say: Say) -> Found:
    """The first two figures again, on the PostgreSQL at `url`; probed is the disk that has its data if it is ours."""
    with rubato(ECHO, store=url) as local:
        say(f"PostgreSQL: {sizes.tasks:,} tasks in batches, {sizes.rounds} times")
        found = {"batches": _batches(local, sizes, postgres.DISK)}
        say(f"PostgreSQL: {sizes.tasks:,} tasks one by one")
        singles = beside_probe(postgres.DISK, sizes, lambda: singly.measure(local.url, sizes.tasks))
        return {**found, "one_by_one": singles}


def beside_probe(folder: Path, sizes: Sizes, figures: Callable[[], Found]) -> Found:
    """The figures, with how fast the disk synced and a core counted before and after."""
    seconds = sizes.probe_seconds
    counted, before = probe.counting(seconds), probe.fdatasync(folder, seconds)
    found = figures()
    after = probe.fdatasync(folder, seconds)
    return {
        **found,
        "fdatasync": {"before": before, "after": after},
        "million_rounds_per_s": {"before": counted, "after": probe.counting(seconds)},
    }


def _batches(local: Local, sizes: Sizes, disk: Path) -> Found:
    """With how many tasks shared a commit: the ledger's own count of its transactions tells."""
    before = status(local)
    found = beside_probe(disk, sizes, lambda: _in_batches(local, "echo", sizes.tasks, sizes))
    after = status(local)
    tasks = after["tasks"]["completed"] - before["tasks"].get("completed", 0)
    return {**found, "tasks_per_commit": round(tasks / (after["ticks"] - before["ticks"]), 1)}


def _steps(local: Local, sizes: Sizes) -> Found:
    found = _in_batches(local, "steps", sizes.tasks_of_steps, sizes)
    return {**found, "steps_per_s": 3 * found["tasks_per_s"]}


def _in_batches(local: Local, agent: str, tasks: int, sizes: Sizes) -> Found:
    return batches.measure(local.url, agent, tasks=tasks, batch=sizes.batch, rounds=sizes.rounds)
