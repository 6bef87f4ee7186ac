"""Why a task does not run, in a sentence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

UNCOUNTED = 10_001  # a place that stands for all beyond the one before it


def sentence(waiting_on: dict[str, Any]) -> str:
    """What a task's `waiting_on` says, or the data of a `waiting` event."""
    return _queued(waiting_on) if "reason" in waiting_on else _waiting(waiting_on)


def _waiting(waits: dict[str, Any]) -> str:
    if waits.get("worker"):
        return f"moves to another worker ({waits['worker']})"
    parts = [f"until {_clock(waits['until'])}"] if waits["until"] else []
    parts += [f"for the signal {name}" for name in waits["signals"]]
    if waits["children"]:
        parts.append(f"for {waits['children']} child{'' if waits['children'] == 1 else 'ren'} to end")
    return f"waits {', or '.join(parts)}"


def _queued(held: dict[str, Any]) -> str:
    until = held["until"] and _clock(held["until"])
    match held["reason"]:
        case "run_at":
            return f"starts at {until}"
        case "paused":
            return f"{_owner(held)} is paused" + (f" until {until}" if until else "")
        case "rate":
            return f"{_owner(held)} has started as many as it may" + (f"; the next may at {until}" if until else "")
        case "concurrency":
            return f"{_owner(held)} has as many running as it may"
        case "no_worker":
            needed = f" that it may go to ({held['worker']})" if held["worker"] else ""
            return f"no worker{needed} has asked for tasks of its agent lately"
        case _:
            return f"{_place(held)}{_estimate(held['estimate'])}"


def _owner(held: dict[str, Any]) -> str:
    key: str = held["limit_key"]
    return f"agent {key.removeprefix('agent:')}" if key.startswith("agent:") else f"limit key {key}"


def _place(held: dict[str, Any]) -> str:
    if held["place"] >= UNCOUNTED:
        return f"more than {UNCOUNTED - 1} come before it in {_owner(held)}"
    return f"number {held['place']} in {_owner(held)}"


def _estimate(seconds: float | None) -> str:
    return "" if seconds is None else f", about {max(1, round(seconds))} s from its turn"


def _clock(moment: str) -> str:
    """In local time, with the day where it is not today."""
    at = datetime.fromisoformat(moment).astimezone()
    return f"{at:%H:%M:%S}" if at.date() == datetime.now().astimezone().date() else f"{at:%Y-%m-%d %H:%M:%S}"
