"""Artifacts: bytes kept by what they are, for one tenant, and never half."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from agents import Artifact, Permanent
from agents.artifacts import (
    ArtifactMissing,
    ArtifactStore,
    FolderArtifacts,
    UrlArtifacts,
    artifact_store,
    keep,
    reading_from,
)
from agents.journal import Journal

from .making import context

DATA = b"%PDF-1.7 \x00\xff"
SHA256 = hashlib.sha256(DATA).hexdigest()

Make = Callable[[str], ArtifactStore]


class StoreContract:
    """What every artifact store promises."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        raise NotImplementedError

    def test_bytes_come_back_as_they_went_in(self, make: Make) -> None:
        for data in (DATA, b"", bytes(range(256)) * 5000):
            store = make("")
            assert store.read(store.write(data)) == data

    def test_bytes_are_named_by_what_they_are(self, make: Make) -> None:
        assert make("").write(DATA) == SHA256

    def test_the_same_bytes_are_kept_once(self, make: Make) -> None:
        store = make("")

        assert store.write(DATA) == store.write(DATA)
        assert store.read(SHA256) == DATA

    def test_what_was_never_kept_is_missing(self, make: Make) -> None:
        with pytest.raises(ArtifactMissing, match=SHA256):
            make("").read(SHA256)

    @pytest.mark.parametrize(
        "name", ["", "..", "../../etc/passwd", SHA256.upper(), SHA256[:-1], f"{SHA256}\n", "0" * 65]
    )
    def test_only_a_digest_names_an_artifact(self, make: Make, name: str) -> None:
        with pytest.raises(ArtifactMissing, match="not a sha256"):
            make("").read(name)

    @pytest.mark.parametrize(
        ("mine", "theirs"),
        [
            ("", "acme"),
            ("acme", ""),
            ("a", "b"),
            ("acme", "ACME"),
            ("../t-acme", "acme"),
            ("..", ""),
            ("a/b", "a"),
            ("a%2Fb", "a/b"),
            ("x" * 255, "x" * 254),
            ("ä" * 127, "ä"),
            ("NUL \0", "NUL "),
            ("\ud800", "\ud801"),
        ],
    )
    def test_what_one_tenant_keeps_another_cannot_read(self, make: Make, mine: str, theirs: str) -> None:
        make(mine).write(DATA)

        assert make(mine).read(SHA256) == DATA
        with pytest.raises(ArtifactMissing):
            make(theirs).read(SHA256)


class TestFolder(StoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda tenant: FolderArtifacts(tmp_path / "not yet" / "there", tenant)


class TestUrl(StoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        bucket = uuid.uuid4()
        return lambda tenant: UrlArtifacts(f"memory://{bucket}/artifacts/", tenant)


class TestLocalUrl(StoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda tenant: UrlArtifacts(f"file://{tmp_path}", tenant)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "tenant", ["", "acme", "..", "../..", "../t-acme", "/etc", "a/../../b", "~root", "C:\\x", "NUL \0"]
)
def test_no_tenant_leaves_the_folder(tmp_path: Path, tenant: str) -> None:
    inside = tmp_path / "artifacts"

    FolderArtifacts(inside, tenant).write(DATA)

    assert [path.relative_to(inside).parts[1:] for path in files(tmp_path)] == [(SHA256[:2], SHA256)]


def test_tenants_that_differ_in_case_only_are_apart_where_a_file_system_folds_it(tmp_path: Path) -> None:
    for tenant in ("acme", "ACME", "Acme"):
        FolderArtifacts(tmp_path, tenant).write(DATA)

    assert len({folder.name.casefold() for folder in tmp_path.iterdir()}) == 3


def test_a_damaged_artifact_is_missing_until_it_is_kept_again(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    store.write(DATA)
    (path,) = files(tmp_path)
    for damage in (b"", DATA[:-1], DATA[:-1] + b"!", DATA + b"!"):
        path.write_bytes(damage)
        with pytest.raises(ArtifactMissing, match="damaged"):
            store.read(SHA256)

        assert store.write(DATA) == SHA256
        assert store.read(SHA256) == DATA


def test_a_cut_off_artifact_under_a_url_is_missing_until_it_is_kept_again() -> None:
    import fsspec

    url = f"memory://{uuid.uuid4()}"
    store = UrlArtifacts(url)
    store.write(DATA)
    memory = fsspec.filesystem("memory")
    memory.pipe_file(memory.glob(f"{url}/**/{SHA256}")[0], DATA[:-1])

    with pytest.raises(ArtifactMissing, match="damaged"):
        store.read(SHA256)
    store.write(DATA)

    assert store.read(SHA256) == DATA


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = FolderArtifacts(tmp_path)
    store.write(b"the folders are there")
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space"):
            store.write(DATA)

    assert files(tmp_path) == before
    with pytest.raises(ArtifactMissing):
        store.read(SHA256)


def test_an_artifact_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(old: str, new: str) -> None:
        calls.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)

    FolderArtifacts(tmp_path / "new").write(DATA)

    assert calls == ["folder", "folder", "folder", "file", "rename", "folder"]


def test_an_artifact_that_cannot_be_read_now_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing is for ever and fails the task; too many open files is a reason to try again."""
    store = FolderArtifacts(tmp_path)
    store.write(DATA)

    def busy(_: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_bytes", busy)

    with pytest.raises(OSError, match="Too many open files"):
        store.read(SHA256)


def test_many_may_keep_the_same_bytes_at_once(tmp_path: Path) -> None:
    data, errors = b"x" * 300_000, []

    def write() -> None:
        try:
            store = FolderArtifacts(tmp_path)
            assert store.read(store.write(data)) == data
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(files(tmp_path)) == 1


def test_a_plain_path_and_a_file_url_are_the_same_folder(tmp_path: Path) -> None:
    artifact_store(str(tmp_path)).write(DATA)

    again = artifact_store(f"file://{tmp_path}")

    assert isinstance(again, FolderArtifacts)
    assert again.read(SHA256) == DATA
    assert isinstance(artifact_store("memory://bucket"), UrlArtifacts)


def test_an_unknown_scheme_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        artifact_store("nosuch://bucket")


def test_a_reference_says_what_the_bytes_are(tmp_path: Path) -> None:
    artifact = keep(FolderArtifacts(tmp_path), DATA, name="a.pdf", media_type="application/pdf")

    assert artifact.model_dump() == {"sha256": SHA256, "size": 11, "media_type": "application/pdf", "name": "a.pdf"}


@pytest.mark.parametrize(
    "fields",
    [
        {"sha256": "short", "size": 1},
        {"sha256": SHA256.upper(), "size": 1},
        {"sha256": f"{SHA256}\n", "size": 1},
        {"sha256": SHA256},
        {"sha256": SHA256, "size": -1},
        {"sha256": SHA256, "size": 1, "path": "/etc/passwd"},
    ],
)
def test_a_reference_that_cannot_be_one_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Artifact).validate_python(fields)


def test_an_artifact_is_read_only_inside_of_a_run(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    artifact = keep(store, DATA, name="a.pdf", media_type="application/pdf")

    with pytest.raises(ArtifactMissing, match=r"a\.pdf can only be read inside a run"):
        artifact.read()
    with reading_from(store):
        assert artifact.read() == DATA
    with pytest.raises(ArtifactMissing):
        artifact.read()


def test_a_missing_artifact_ends_the_task_for_good() -> None:
    assert issubclass(ArtifactMissing, Permanent)


async def test_a_step_in_a_thread_reads_what_the_run_may_read(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    artifact = keep(store, DATA, name="", media_type="")

    with reading_from(store):
        assert await context(artifacts=store).step("read", lambda given: len(given.read()), artifact) == len(DATA)


async def test_a_run_keeps_bytes_and_files(tmp_path: Path) -> None:
    store, path = FolderArtifacts(tmp_path / "artifacts"), tmp_path / "a.pdf"
    path.write_bytes(DATA)
    ctx = context(artifacts=store)

    from_bytes = await ctx.artifact(DATA)
    from_file = await ctx.artifact(path, name="a.pdf", media_type="application/pdf")

    assert from_bytes == Artifact(sha256=SHA256, size=len(DATA))
    assert from_file == Artifact(sha256=SHA256, size=len(DATA), name="a.pdf", media_type="application/pdf")
    assert store.read(SHA256) == DATA


async def test_an_artifact_made_in_a_step_comes_back_on_replay_and_can_be_read(tmp_path: Path) -> None:
    store, journal = FolderArtifacts(tmp_path), Journal()

    async def run() -> bytes:
        ctx = context(journal, artifacts=store)

        async def draw() -> Artifact:
            return await ctx.artifact(DATA, name="drawing")

        drawing: Artifact = await ctx.step("draw", draw)
        return drawing.read()

    with reading_from(store):
        assert await run() == await run() == DATA
