"""Prints the part of a lock file that running takes, with its hashes: all but what only the dev group asks for."""

from __future__ import annotations

import re
import sys
from pathlib import Path

OURS = "rubato (pyproject.toml)"  # as the lock names whoever asks for what we need to run


def entries(lock: str) -> list[tuple[str, str]]:
    """Name and text of each entry; a package has more than one where Pythons need different versions of it."""
    texts = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return [(text.partition("==")[0].partition("[")[0], text) for text in texts if "==" in text]


def askers(entry: str) -> set[str]:
    """Who asks for a package: the comments behind its hashes, each a line of its own but for a single one."""
    notes = re.findall(r"^    #(?: via)? +(.*)$", entry.replace("    # via\n", ""), flags=re.MULTILINE)
    return {note.strip().partition("[")[0] for note in notes}


def runtime(lock: str) -> list[str]:
    """The entries that running takes, in their order."""
    known = entries(lock)
    asked: dict[str, set[str]] = {}
    for name, entry in known:
        asked.setdefault(name, set()).update(askers(entry))
    needed = {OURS}
    while more := {name for name in asked if name not in needed and asked[name] & needed}:
        needed |= more
    return [entry for name, entry in known if name in needed]


if __name__ == "__main__":
    sys.stdout.write("".join(runtime(Path(sys.argv[1]).read_text())))
