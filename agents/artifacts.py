"""Bytes kept by what they are: a reference in the JSON, the content in a folder or a bucket.

What is written again is as good as new: `agents.shelves`, which deletes old artifacts, deletes none that a `write`
has returned for since. Each store keeps that promise together with its counterpart there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .errors import Permanent

SHA256 = re.compile(r"[0-9a-f]{64}")
TOUCHED, GOING = ".touched", ".going"  # behind an artifact's name under a URL: written again, to be deleted
GOING_SECONDS = 30.0  # after which who wanted to delete it is taken for dead; it gives up sooner than that
TRIES = 5
PLAIN = re.compile(r"[a-z0-9_-]{0,100}")  # a tenant that can name a folder as it is


class ArtifactMissing(Permanent):
    """The bytes behind a reference are not there, or are not what the reference says."""


class Artifact(BaseModel):
    """A reference to bytes: what travels in inputs, steps and answers instead of the bytes themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    media_type: str = "application/octet-stream"
    name: str = ""

    def read(self) -> bytes:
        """The bytes, checked against the digest; blocking, so call it inside a sync step.

        Raises ArtifactMissing where they are gone, damaged, or another tenant's.
        """
        store = _current.get(None)
        if store is None:
            raise ArtifactMissing(f"artifact {self.name or self.sha256} can only be read inside a run")
        return store.read(self.sha256)


class ArtifactStore(Protocol):
    """Where one tenant's bytes are kept, under their sha256."""

    def write(self, data: bytes) -> str:
        """Keep `data`, safe before this returns, and say its sha256; what was there already is new from now on."""

    def read(self, sha256: str) -> bytes:
        """The bytes with this digest; raises ArtifactMissing."""


_current: ContextVar[ArtifactStore] = ContextVar("rubato_artifacts")


class reading_from:
    """Let `Artifact.read` inside the block find its bytes in `store`. Each run has such a block: as a generator it
    would take three times as long."""

    __slots__ = ("_store", "_token")

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._token = _current.set(self._store)

    def __exit__(self, kind: object = None, error: BaseException | None = None, traceback: object = None) -> None:
        _current.reset(self._token)


def keep(store: ArtifactStore, data: bytes, *, name: str, media_type: str) -> Artifact:
    """Write `data` and return the reference to it."""
    return Artifact(sha256=store.write(data), size=len(data), media_type=media_type, name=name)


class FolderArtifacts:
    """A tenant's artifacts in a local folder: written aside, synced, then renamed, so none is ever seen half."""

    def __init__(self, folder: Path, tenant: str = "") -> None:
        self._folder = folder / shelf(tenant)

    def write(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        _make(path.parent)
        if not (_holds(path, data) and _touch(path)):
            _replace(path, data)
        _sync(path.parent)
        return digest

    def read(self, sha256: str) -> bytes:
        try:
            data = self._path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise ArtifactMissing(f"no artifact {sha256}") from error
        return _checked(sha256, data)

    def _path(self, sha256: str) -> Path:
        return self._folder / _valid(sha256)[:2] / sha256


class UrlArtifacts:
    """A tenant's artifacts under any URL that fsspec knows, for clusters of more than one node."""

    def __init__(self, url: str, tenant: str = "") -> None:
        self._files, root = files_at(url)
        self._root = f"{root}/{shelf(tenant)}"

    def write(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        for _ in range(TRIES):
            if self._size(path) == len(data):
                self._files.pipe_file(path + TOUCHED, b"")
            else:  # not there, or cut off where a file system has no atomic write
                self._files.pipe_file(path, data)
            # Who deletes it marks it first and looks at its age then: without a mark now, it is seen as new, or is
            # gone already.
            self._wait_out(path + GOING)
            if self._size(path) == len(data):
                return digest
        raise OSError(f"artifact {digest} is gone as often as it is written")

    def read(self, sha256: str) -> bytes:
        try:
            data: bytes = self._files.cat_file(self._path(sha256))
        except FileNotFoundError as error:
            raise ArtifactMissing(f"no artifact {sha256}") from error
        return _checked(sha256, data)

    def _wait_out(self, mark: str) -> None:
        ends = time.monotonic() + GOING_SECONDS
        while self._size(mark) is not None and time.monotonic() < ends:
            time.sleep(0.05)

    def _size(self, path: str) -> int | None:
        try:
            size: int | None = self._files.size(path)
        except FileNotFoundError:
            return None
        return size

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{_valid(sha256)[:2]}/{sha256}"


def artifact_store(url: str, tenant: str = "") -> ArtifactStore:
    """The store at `url`: a plain path or file:// is a local folder, any other scheme goes to fsspec."""
    plain = url.removeprefix("file://")
    return UrlArtifacts(url, tenant) if "://" in plain else FolderArtifacts(Path(plain), tenant)


def files_at(url: str) -> tuple[Any, str]:
    """The file system that fsspec finds there, none of whose answers is an old one, and the path in it."""
    import fsspec

    files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return files, root.rstrip("/")


def shelf(tenant: str) -> str:
    """A folder's name for the tenant, its own on every file system: some fold case, all have a longest name."""
    if PLAIN.fullmatch(tenant):
        return f"t-{tenant}"
    return f"h-{hashlib.sha256(tenant.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


@contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    """Inside the block nobody deletes from the folder (LOCK_SH), or nobody gives a name or a new age in it (LOCK_EX).

    Raises OSError where that cannot be had; with LOCK_SH it is done without then, for nobody can delete there either.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, how)
        except OSError:
            if how != fcntl.LOCK_SH:
                raise
        yield
    finally:
        os.close(handle)


def _touch(path: Path) -> bool:
    """Whether it was there to be made new."""
    with locked(path.parent, fcntl.LOCK_SH):
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True


def _replace(path: Path, data: bytes) -> None:
    handle, aside = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with locked(path.parent, fcntl.LOCK_SH):
            os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _valid(sha256: str) -> str:
    if not SHA256.fullmatch(sha256):
        raise ArtifactMissing(f"{sha256!r} is not a sha256")
    return sha256


def _checked(sha256: str, data: bytes) -> bytes:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ArtifactMissing(f"artifact {sha256} is damaged: its bytes have another digest")
    return data
