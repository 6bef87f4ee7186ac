"""Bytes kept by what they are: a reference in the JSON, the content in a folder or a bucket."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .errors import Permanent

SHA256 = re.compile(r"[0-9a-f]{64}")
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
        """Keep `data`, safe before this returns, and say its sha256."""

    def read(self, sha256: str) -> bytes:
        """The bytes with this digest; raises ArtifactMissing."""


_current: ContextVar[ArtifactStore] = ContextVar("rubato_artifacts")


@contextmanager
def reading_from(store: ArtifactStore) -> Iterator[None]:
    """Let `Artifact.read` inside the block find its bytes in `store`."""
    token = _current.set(store)
    try:
        yield
    finally:
        _current.reset(token)


def keep(store: ArtifactStore, data: bytes, *, name: str, media_type: str) -> Artifact:
    """Write `data` and return the reference to it."""
    return Artifact(sha256=store.write(data), size=len(data), media_type=media_type, name=name)


class FolderArtifacts:
    """A tenant's artifacts in a local folder: written aside, synced, then renamed, so none is ever seen half."""

    def __init__(self, folder: Path, tenant: str = "") -> None:
        self._folder = folder / _segment(tenant)

    def write(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if not _holds(path, data):
            _make(path.parent)
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
        import fsspec

        self._files, root = fsspec.core.url_to_fs(url)
        self._root = f"{root.rstrip('/')}/{_segment(tenant)}"

    def write(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if self._size(path) != len(data):  # not there, or cut off where a file system has no atomic write
            self._files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._files.pipe_file(path, data)
        return digest

    def read(self, sha256: str) -> bytes:
        try:
            data: bytes = self._files.cat_file(self._path(sha256))
        except FileNotFoundError as error:
            raise ArtifactMissing(f"no artifact {sha256}") from error
        return _checked(sha256, data)

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


def _segment(tenant: str) -> str:
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


def _replace(path: Path, data: bytes) -> None:
    handle, aside = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
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
