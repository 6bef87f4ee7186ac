"""What was promised, what was measured, and whether it holds. Plain decisions over the figures."""

from __future__ import annotations

from typing import Any

REALTIME_SHARE = 0.6  # of bare FastAPI's requests/s at 16 connections
STOCK_FACTOR = 8  # times stock Ray Serve's
ALONE_FACTOR = 2.5  # of bare FastAPI's p50 at one connection
KEPT_FACTOR = 2  # for an answer that is kept
EVENT_FACTOR = 5  # of the bare p50 to the first event
TURN_FACTOR = 3  # of the bare echo's turn over a WebSocket
IDLE_MB = 100.0  # that a thousand sockets at rest weigh
HANDOVER_SECONDS = 0.55  # for a 202 to a caller who waits half a second
OVERLOAD_SECONDS = 1.0  # the deadline of the agent that is asked too often
REFUSED_MS = 50.0  # what "at once" is
GROWTH_MB = 20.0  # that memory may grow by in a minute of overload
BACKGROUND_RATE = 5_000  # tasks/s
JOB_MB = 300  # that the driver of a job may have, however many lines
FIRST_RESULT_SECONDS = 15.0  # of work that comes where there is no node
GONE_SECONDS = 30.0  # from the last result until no node is left
FDATASYNC_RATE = 500  # a second: below it, marks in absolute figures say nothing about the software

BATCHES_RATE = 8_000  # tasks/s
SINGLY_RATE = 1_500
STEPS_RATE = 3_000  # of three steps each
CELERY_FACTOR = 10
WAIT_SYNCS, WAIT_MS = 2, 6.0  # the time of one task: so many syncs, and this where a round trip takes
ROUNDTRIP_MS = 0.8
BACKLOG_SHARE = 0.8  # of the throughput without it
BACKLOG_MB = 500
BACKLOG_SECONDS = 10.0
POSTGRES_SHARE = 0.5  # of SQLite's

Mark = dict[str, Any]
Found = dict[str, Any]


def marks(found: Found) -> dict[str, Mark]:
    """Every mark for which there is a figure."""
    made: dict[str, Mark] = {}
    if "realtime" in found:
        made |= {f"realtime_{name}": mark for name, mark in _realtime(found).items()}
    if "background" in found:
        batches = found["background"]["batches"]
        made["background_tasks_per_s"] = at_least(BACKGROUND_RATE, batches["tasks_per_s"], batches["fdatasync"])
    for order, job in found.get("job", {}).items():
        made[f"job_{order}_driver_mb"] = at_most(JOB_MB, job["driver_mb"])
        made[f"job_{order}_lines_missing"] = at_most(0, job["lines"] - job["recorded"])
    if "pool" in found:
        made |= {f"pool_{name}": mark for name, mark in _pool(found["pool"]).items()}
    if "ledger" in found:
        made |= {f"ledger_{name}": mark for name, mark in _ledger(found["ledger"]).items()}
    return made


def _pool(pool: Found) -> dict[str, Mark]:
    return {
        "first_result_s": at_most(FIRST_RESULT_SECONDS, pool["first_result_s"]),
        "nodes_gone_after_s": at_most(GONE_SECONDS, pool["nodes_gone_after_s"]),
        "tasks_lost": at_most(0, pool["lost"]),
        "attempts_counted_twice": at_most(0, pool["attempts_counted_twice"]),
    }


def at_least(mark: float, got: float, fdatasync: Found | None = None) -> Mark:
    """A mark to reach; one in absolute figures is given the disk's own, which it depends on."""
    return {"at_least": mark, "got": round(got, 3), "ratio": round(got / mark, 3), "holds": got >= mark} | _disk(
        got, fdatasync
    )


def at_most(mark: float, got: float) -> Mark:
    """A mark not to pass."""
    ratio = got / mark if mark else float(got > 0)
    return {"at_most": round(mark, 3), "got": round(got, 3), "ratio": round(ratio, 3), "holds": got <= mark}


def table(made: dict[str, Mark]) -> str:
    """The marks for a person."""
    rows = [("mark", "promised", "got", "ratio", "holds")]
    for name, mark in made.items():
        promised = f">= {mark['at_least']:,}" if "at_least" in mark else f"<= {mark['at_most']:,}"
        note = "" if mark.get("disk_is_fast_enough", True) else ", on a disk that is too slow to tell"
        rows.append((name, promised, f"{mark['got']:,}", f"{mark['ratio']:.2f}", _yes(mark["holds"]) + note))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join([*map(str.ljust, row[:4], widths), row[4]]) for row in rows)


def _realtime(found: Found) -> dict[str, Mark]:
    ours, bare, stock = found["realtime"], found["bare"], found["stock"]
    at_16 = [each["16"]["requests_per_s"] for each in (ours, bare, stock)]
    overload, talk = ours["overload"], ours["sockets"]
    turn_ms = TURN_FACTOR * ours["turn"]["bare"]["p50_ms"]
    return {
        "share_of_bare_at_16": at_least(REALTIME_SHARE, at_16[0] / at_16[1]),
        "of_stock_serve_at_16": at_least(STOCK_FACTOR, at_16[0] / at_16[2]),
        "p50_of_bare_alone": at_most(ALONE_FACTOR, ours["1"]["p50_ms"] / bare["1"]["p50_ms"]),
        "kept_p50_of_bare": at_most(KEPT_FACTOR, ours["kept"]["p50_ms"] / bare["1"]["p50_ms"]),
        "first_event_p50_of_bare": at_most(EVENT_FACTOR, ours["first_event"]["p50_ms"] / bare["first_event"]["p50_ms"]),
        "turn_p50_ms": at_most(turn_ms, ours["turn"]["p50_ms"]),
        "turn_that_remembers_p50_ms": at_most(turn_ms + talk["commit_ms"], talk["remembers"]["p50_ms"]),
        "idle_sockets_mb": at_most(IDLE_MB, talk["idle"]["memory_grew_mb"]),
        "handover_p99_s": at_most(HANDOVER_SECONDS, ours["handover"]["p99_s"]),
        "overload_accepted_p99_ms": at_most(OVERLOAD_SECONDS * 1000, overload["accepted"]["p99_ms"]),
        "overload_refused_p99_ms": at_most(REFUSED_MS, overload["refused"]["p99_ms"]),
        "overload_neither": at_most(0, overload["other"]),
        "overload_memory_mb": at_most(GROWTH_MB, overload["memory_grew_mb"]),
    }


def _ledger(found: Found) -> dict[str, Mark]:
    batches, singly, steps, alone = (found[name] for name in ("batches", "one_by_one", "steps", "one_at_a_time"))
    made = {
        "batches_tasks_per_s": at_least(BATCHES_RATE, batches["tasks_per_s"], batches["fdatasync"]),
        "one_by_one_tasks_per_s": at_least(SINGLY_RATE, singly["tasks_per_s"], singly["fdatasync"]),
        "three_steps_tasks_per_s": at_least(STEPS_RATE, steps["tasks_per_s"], steps["fdatasync"]),
        "one_at_a_time_p50_ms": at_most(
            wait_ms(alone["fdatasync"], found["actor_roundtrip"]["p50_ms"]), alone["p50_ms"]
        ),
    }
    if "celery" in found:
        best = found["celery"]
        made["batches_of_celery"] = at_least(CELERY_FACTOR, batches["tasks_per_s"] / best["tasks_per_s"])
        made["one_at_a_time_p50_below_celery_ms"] = at_most(best["p50_ms"], alone["p50_ms"])
    if "backlog" in found:
        backlog = found["backlog"]
        made["backlog_share"] = at_least(BACKLOG_SHARE, backlog["share"])
        made["backlog_memory_mb"] = at_most(BACKLOG_MB, backlog["memory"]["pss_mb"])
        made["backlog_ready_after_kill_s"] = at_most(BACKLOG_SECONDS, backlog["after_kill"]["accepted_s"])
    for name, mark in (("batches", batches), ("one_by_one", singly)):
        if "postgres" in found:
            share = found["postgres"][name]["tasks_per_s"] / mark["tasks_per_s"]
            made[f"postgres_{name}_of_sqlite"] = at_least(POSTGRES_SHARE, share)
    return made


def wait_ms(fdatasync: Found, roundtrip_ms: float) -> float:
    """What one task may take here: its syncs as the disk does them, the rest as fast as actors answer each other."""
    sync_ms = (fdatasync["before"]["p50_ms"] + fdatasync["after"]["p50_ms"]) / 2
    return float(WAIT_SYNCS * sync_ms + WAIT_MS * roundtrip_ms / ROUNDTRIP_MS)


def _disk(got: float, fdatasync: Found | None) -> Mark:
    if fdatasync is None:
        return {}
    rate = (fdatasync["before"]["per_second"] + fdatasync["after"]["per_second"]) / 2
    return {"disk_is_fast_enough": rate >= FDATASYNC_RATE, "tasks_per_fdatasync": round(got / rate, 1)}


def _yes(holds: bool) -> str:
    return "yes" if holds else "NO"
