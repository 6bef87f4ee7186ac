"""A command that is asked to end undoes what it has half done, as it does on Ctrl-C."""

from __future__ import annotations

import signal
import sys


def undo_when_ended() -> None:
    """From now on SIGTERM and SIGHUP raise SystemExit, which passes through everything that undoes."""
    for ended_by in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ended_by, lambda number, _: sys.exit(128 + number))
