"""A place for artifacts, as tests write to it and sweep it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from agents.artifacts import ArtifactStore, shelf
from agents.shelves import PARTS, Shelves

DATA, OTHER = b"%PDF-1.7 \x00\xff", b"other"
SHA256 = hashlib.sha256(DATA).hexdigest()
MINE = shelf("")
EVER = 1e12  # a moment before which everything was written


class Place(NamedTuple):
    """A place for artifacts, as writers and as a sweeper see it."""

    store: Callable[[str], ArtifactStore]
    shelves: Shelves

    def old(self, before: float, name: str = MINE) -> set[str]:
        return {found for part in range(PARTS) for found in self.shelves.old(name, part, before)}

    def has(self, data: bytes = DATA) -> bool:
        return hashlib.sha256(data).hexdigest() in self.old(EVER)
