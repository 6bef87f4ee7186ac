"""Where the artifacts of all tenants are kept, a shelf for each: old ones are found, and deleted.

`forget` and the `write` of `agents.artifacts` hold each other off: whatever their order, what `write` returned for is
there afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Container, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from .artifacts import GOING, GOING_SECONDS, SHA256, TOUCHED, files_at, locked

PARTS = 256  # of a shelf, so that one look is small
OWNER = "owner"  # the file that says whose artifacts these are
DEAD = 600.0  # seconds after which a mark is nobody's any more
GIVE_UP = GOING_SECONDS / 3  # seconds after its mark in which an artifact must be deleted

_SHELF = re.compile(r"t-[a-z0-9_-]{0,100}|h-[0-9a-f]{64}")
_ASIDE = re.compile(r"tmp\w+")  # what a writer that died left half written
# How file systems call the moment of the last write; some know that of the creation only, which is the same for them.
_MOMENTS = ("LastModified", "last_modified", "mtime", "updated", "created")


class Shelves(Protocol):
    """All artifacts of one place. Moments are seconds since the epoch; every method blocks."""

    def own(self, owner: str) -> bool:
        """Whether they are this owner's to delete. Where nobody's name stands yet, it does from now on."""

    def pass_on(self, owner: str, to: str) -> None:
        """Let what is this owner's be another's to delete; what is somebody else's, or nobody's, stays so."""

    def names(self) -> list[str]:
        """The shelves that there are, as `agents.artifacts.shelf` names them."""

    def old(self, shelf: str, part: int, before: float) -> list[str]:
        """The artifacts of one of the PARTS of a shelf that were not written since that moment."""

    def forget(self, shelf: str, sha256: str, before: float) -> bool:
        """Delete the artifact, unless it was written since that moment; whether it is gone."""


class FolderShelves:
    """In a local folder: writers hold a lock while they name or touch a file, and deleting takes it alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def own(self, owner: str) -> bool:
        if not self._folder.is_dir():
            return False
        path = self._folder / OWNER
        with contextlib.suppress(FileExistsError), path.open("x") as file:
            file.write(owner)
        found = path.read_text()
        if not found:  # who wrote it died in between
            path.write_text(owner)
        return found == owner

    def pass_on(self, owner: str, to: str) -> None:
        path = self._folder / OWNER
        if path.exists() and path.read_text() == owner:
            aside = path.with_suffix(".new")
            aside.write_text(to)
            aside.replace(path)

    def names(self) -> list[str]:
        return _shelves(entry.name for entry in os.scandir(self._folder) if entry.is_dir())

    def old(self, shelf: str, part: int, before: float) -> list[str]:
        folder = self._folder / shelf / f"{part:02x}"
        if not folder.is_dir():
            return []
        found = [entry for entry in os.scandir(folder) if _written(entry) < before]
        for entry in found:
            if _ASIDE.fullmatch(entry.name):
                os.unlink(entry.path)
        return [entry.name for entry in found if SHA256.fullmatch(entry.name)]

    def forget(self, shelf: str, sha256: str, before: float) -> bool:
        path = self._folder / shelf / sha256[:2] / sha256
        try:
            with locked(path.parent, fcntl.LOCK_EX | fcntl.LOCK_NB):
                if path.stat().st_mtime >= before:
                    return False
                path.unlink()
                return True
        except FileNotFoundError:
            return True
        except BlockingIOError:  # somebody writes there; it is as old at the next look
            return False


class UrlShelves:
    """Under a URL, where there are no locks: an artifact is marked, then looked at, then deleted, then unmarked."""

    def __init__(self, url: str) -> None:
        self._files, self._root = files_at(url)

    def own(self, owner: str) -> bool:
        """True from the second time on: nothing tells which of two that come at once is the first."""
        path = f"{self._root}/{OWNER}"
        try:
            return bool(self._files.cat_file(path) == owner.encode())
        except FileNotFoundError:
            if self._files.exists(self._root):
                self._files.pipe_file(path, owner.encode())
            return False

    def pass_on(self, owner: str, to: str) -> None:
        path = f"{self._root}/{OWNER}"
        with contextlib.suppress(FileNotFoundError):
            if self._files.cat_file(path) == owner.encode():
                self._files.pipe_file(path, to.encode())

    def names(self) -> list[str]:
        return _shelves(path.rsplit("/", 1)[-1] for path in self._list(self._root))

    def old(self, shelf: str, part: int, before: float) -> list[str]:
        folder = f"{self._root}/{shelf}/{part:02x}"
        moments = {path.rsplit("/", 1)[-1]: _moment(info) for path, info in self._list(folder).items()}
        names = [name for name in moments if SHA256.fullmatch(name)]
        for name, at in moments.items():
            if at is not None and _is_left_over(name, at, moments, before):
                self._delete(f"{folder}/{name}")
        written = {name: (moments[name], moments.get(name + TOUCHED, 0.0)) for name in names}
        return [name for name, ats in written.items() if all(at is not None and at < before for at in ats)]

    def forget(self, shelf: str, sha256: str, before: float) -> bool:
        path = f"{self._root}/{shelf}/{sha256[:2]}/{sha256}"
        began = time.monotonic()
        self._files.pipe_file(path + GOING, b"")
        try:
            written, touched = self._info(path), self._info(path + TOUCHED)
            if written is None:
                return True
            ats = [_moment(written), _moment(touched) if touched is not None else 0.0]
            if any(at is None or at >= before for at in ats) or time.monotonic() - began > GIVE_UP:
                return False
            self._delete(path)
            self._delete(path + TOUCHED)
            return True
        finally:
            self._delete(path + GOING)

    def _list(self, folder: str) -> dict[str, Any]:
        """What lies there, by path."""
        try:
            return {info["name"].rstrip("/"): info for info in self._files.ls(folder, detail=True)}
        except FileNotFoundError:
            return {}

    def _info(self, path: str) -> Any:
        try:
            return self._files.info(path)
        except FileNotFoundError:
            return None

    def _delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(path)


def shelves_at(url: str) -> Shelves:
    """The shelves at `url`, as `agents.artifacts.artifact_store` finds them."""
    plain = url.removeprefix("file://")
    return UrlShelves(url) if "://" in plain else FolderShelves(Path(plain))


def _shelves(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if _SHELF.fullmatch(name))


def _is_left_over(name: str, at: float, names: Container[str], before: float) -> bool:
    """Whether a deleter that died has left it behind, among these names."""
    if name.endswith(GOING):
        return at < time.time() - DEAD
    return name.endswith(TOUCHED) and name.removesuffix(TOUCHED) not in names and at < before


def _written(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:  # renamed meanwhile
        return float("inf")


def _moment(info: Any) -> float | None:
    """When it was last written, None where the file system does not say: then it is never old."""
    at = next((info[name] for name in _MOMENTS if info.get(name) is not None), None)
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if isinstance(at, datetime):
        return at.timestamp()
    return float(at) if isinstance(at, int | float) else None
