"""Old artifacts in a folder, whatever a writer and a sweeper do at the same moment."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from agents import artifacts
from agents.artifacts import FolderArtifacts
from agents.shelves import FolderShelves

from .places import DATA, EVER, MINE, SHA256, Place


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    return Place(lambda tenant: FolderArtifacts(tmp_path, tenant), FolderShelves(tmp_path))


def test_what_a_dead_writer_left_half_written_goes_too(folder: Place, tmp_path: Path) -> None:
    folder.store("").write(DATA)
    aside = tmp_path / MINE / SHA256[:2] / "tmpabc123_x"
    strange = tmp_path / MINE / SHA256[:2] / "README"
    for path in (aside, strange):
        path.write_bytes(b"half")
        os.utime(path, (1.0, 1.0))
    (tmp_path / "not-a-shelf").mkdir()

    assert folder.old(2.0) == set()
    assert not aside.exists()
    assert strange.exists()
    assert folder.shelves.names() == [MINE]


def test_an_owner_that_died_while_it_wrote_its_name_bars_nobody(folder: Place, tmp_path: Path) -> None:
    (tmp_path / "owner").write_text("")

    folder.shelves.own("me")

    assert folder.shelves.own("me")


def test_who_writes_again_while_it_is_deleted_waits_and_keeps_it(
    folder: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper is held between its look at the age and the delete; the writer has seen the file."""
    folder.store("").write(DATA)
    unlink, deleting, go_on = Path.unlink, threading.Event(), threading.Event()

    def held(path: Path) -> None:
        deleting.set()
        assert go_on.wait(5)
        unlink(path)

    monkeypatch.setattr(Path, "unlink", held)
    sweeper = threading.Thread(target=lambda: folder.shelves.forget(MINE, SHA256, EVER))
    sweeper.start()
    assert deleting.wait(5)
    writer = threading.Thread(target=lambda: folder.store("").write(DATA))
    writer.start()
    writer.join(0.1)
    assert writer.is_alive(), "it must not return for what is about to be deleted"

    go_on.set()
    sweeper.join(5)
    writer.join(5)

    assert folder.store("").read(SHA256) == DATA


@pytest.mark.parametrize("call", ["utime", "replace"])
def test_what_is_being_written_is_not_deleted(folder: Place, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The writer is held at the moment that makes the file new, or gives it its name in the place of a damaged one."""
    store = folder.store("")
    store.write(DATA)
    path = next(folder.shelves._folder.rglob(SHA256))  # type: ignore[attr-defined]
    path.write_bytes(DATA if call == "utime" else DATA[:-1])
    os.utime(path, (1.0, 1.0))
    real, writing, go_on = getattr(os, call), threading.Event(), threading.Event()

    def held(*args: Any) -> None:
        writing.set()
        assert go_on.wait(5)
        real(*args)

    monkeypatch.setattr(os, call, held)
    writer = threading.Thread(target=lambda: store.write(DATA))
    writer.start()
    assert writing.wait(5)

    assert not folder.shelves.forget(MINE, SHA256, 2.0)

    go_on.set()
    writer.join(5)
    assert not folder.shelves.forget(MINE, SHA256, 2.0)
    assert store.read(SHA256) == DATA


def test_what_was_deleted_after_the_writer_saw_it_is_written(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.store("").write(DATA)
    holds = artifacts._holds

    def then_deleted(path: Path, data: bytes) -> bool:
        found = holds(path, data)
        assert folder.shelves.forget(MINE, SHA256, EVER)
        return found

    monkeypatch.setattr(artifacts, "_holds", then_deleted)

    folder.store("").write(DATA)

    assert folder.store("").read(SHA256) == DATA
