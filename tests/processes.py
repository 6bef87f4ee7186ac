"""What a process was started as, also of one that ends while it is asked."""

from __future__ import annotations

import contextlib

import psutil


def command(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that is gone."""
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


def title_of(process: psutil.Process) -> str:
    """Its command line as one text, which is how Ray's workers tell what they are."""
    return " ".join(command(process))
