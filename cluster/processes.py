"""The processes of one Rubato on this machine: found by a mark that they inherit, whoever their parent is now."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

import psutil

MARK = "RUBATO_CLUSTER"  # in the environment of whatever belongs to a cluster; the value is the cluster's id
POLITE = 2.0  # seconds between being asked to end and being killed
STUBBORN = 15.0  # seconds in which killed processes must be gone; only a hanging disk makes them stay


def marked(cluster: str) -> list[psutil.Process]:
    """Every process that carries this cluster's mark, but for this one and those that it runs under."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and _mark_of(process) == cluster]


def mark_of(pid: int) -> str | None:
    """The id of the cluster that a process belongs to, None if it belongs to none or is gone."""
    try:
        return _mark_of(psutil.Process(pid))
    except psutil.Error:
        return None


def end(cluster: str) -> int:
    """End them all: first asked, then killed, until none is left, also of those born meanwhile. Says how many."""
    ended: set[int] = set()
    asked = time.monotonic()
    while time.monotonic() - asked < POLITE and (found := marked(cluster)):
        _signal([process for process in found if process.pid not in ended], kill=False)
        ended.update(process.pid for process in found)
        _wait(found, 0.2)
    killed = time.monotonic()
    while time.monotonic() - killed < STUBBORN and (found := marked(cluster)):
        _signal(found, kill=True)
        ended.update(process.pid for process in found)
        _wait(found, 0.5)
    return len(ended)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return str(process.environ().get(MARK))
    except (psutil.Error, OSError):
        return None


def _signal(processes: Sequence[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill() if kill else process.terminate()


def _wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    psutil.wait_procs(processes, timeout=seconds)
