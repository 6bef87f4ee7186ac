"""Old artifacts: found, deleted, and never lost by who writes them again, whatever happens in between."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agents import artifacts, shelves
from agents.artifacts import GOING, TOUCHED, ArtifactStore, FolderArtifacts, UrlArtifacts, shelf
from agents.shelves import PARTS, FolderShelves, Shelves, UrlShelves, shelves_at

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


def later() -> float:
    """A moment after everything that was written, by clocks as coarse as file systems have."""
    time.sleep(0.03)
    now = time.time()
    time.sleep(0.03)
    return now


class ShelvesContract:
    """What all shelves promise."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        raise NotImplementedError

    def test_what_was_written_before_is_old(self, place: Place) -> None:
        place.store("").write(DATA)
        between = later()
        place.store("").write(OTHER)

        assert place.old(between) == {SHA256}
        assert len(place.old(EVER)) == 2
        assert place.old(0.0) == set()

    def test_each_tenant_has_a_shelf(self, place: Place) -> None:
        for tenant in ("", "acme", "ACME"):
            place.store(tenant).write(DATA)

        assert place.shelves.names() == sorted(map(shelf, ("", "acme", "ACME")))
        assert place.old(EVER, shelf("ACME")) == {SHA256}
        assert place.old(EVER, shelf("nobody")) == set()

    def test_what_is_forgotten_is_gone_and_may_be_written_again(self, place: Place) -> None:
        place.store("").write(DATA)
        place.store("acme").write(DATA)

        assert place.shelves.forget(MINE, SHA256, EVER)

        assert not place.has()
        assert place.store("acme").read(SHA256) == DATA
        place.store("").write(DATA)
        assert place.store("").read(SHA256) == DATA

    def test_to_forget_twice_is_the_same(self, place: Place) -> None:
        place.store("").write(DATA)

        assert place.shelves.forget(MINE, SHA256, EVER)
        assert place.shelves.forget(MINE, SHA256, EVER)
        assert place.old(EVER) == set()

    def test_what_was_written_since_stays(self, place: Place) -> None:
        before = time.time() - 1
        place.store("").write(DATA)

        assert not place.shelves.forget(MINE, SHA256, before)
        assert place.store("").read(SHA256) == DATA

    def test_what_is_written_again_is_new(self, place: Place) -> None:
        place.store("").write(DATA)
        between = later()
        assert place.old(between) == {SHA256}

        place.store("").write(DATA)

        assert place.old(between) == set()
        assert not place.shelves.forget(MINE, SHA256, between)
        assert place.store("").read(SHA256) == DATA

    def test_what_was_touched_and_then_forgotten_leaves_nothing(self, place: Place) -> None:
        for _ in range(2):
            place.store("").write(DATA)

        assert place.shelves.forget(MINE, SHA256, EVER)

        assert self.files(place) == []

    def test_artifacts_have_one_owner(self, place: Place) -> None:
        assert not place.shelves.own("me"), "there is nothing to own"
        place.store("").write(DATA)

        place.shelves.own("me")

        assert place.shelves.own("me")
        assert not place.shelves.own("you")

    def test_only_its_owner_passes_a_place_on(self, place: Place) -> None:
        place.shelves.pass_on("me", "you")  # where there is nothing yet
        place.store("").write(DATA)
        for _ in range(2):
            place.shelves.own("me")

        place.shelves.pass_on("somebody", "you")
        assert place.shelves.own("me")
        place.shelves.pass_on("me", "you")

        assert not place.shelves.own("me")
        assert place.shelves.own("you")
        assert place.shelves.names() == [MINE]

    def files(self, place: Place) -> list[str]:
        """Whatever lies on my shelf."""
        raise NotImplementedError


class TestFolder(ShelvesContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        folder = tmp_path / "artifacts"
        return Place(lambda tenant: FolderArtifacts(folder, tenant), FolderShelves(folder))

    def files(self, place: Place) -> list[str]:
        assert isinstance(place.shelves, FolderShelves)
        return [path.name for path in (place.shelves._folder / MINE).rglob("*") if path.is_file()]


class TestUrl(ShelvesContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        url = f"memory://{uuid.uuid4()}/artifacts/"
        return Place(lambda tenant: UrlArtifacts(url, tenant), UrlShelves(url))

    def files(self, place: Place) -> list[str]:
        assert isinstance(place.shelves, UrlShelves)
        return list(place.shelves._files.find(f"{place.shelves._root}/{MINE}"))


class TestLocalUrl(TestUrl):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        url = f"file://{tmp_path}/artifacts"
        return Place(lambda tenant: UrlArtifacts(url, tenant), UrlShelves(url))


def test_a_plain_path_and_a_file_url_are_the_same_shelves(tmp_path: Path) -> None:
    FolderArtifacts(tmp_path).write(DATA)

    for url in (str(tmp_path), f"file://{tmp_path}"):
        assert shelves_at(url).names() == [MINE]
    assert isinstance(shelves_at("memory://bucket"), UrlShelves)


# a folder


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


# a URL


class Turns:
    """Two threads that take turns at each call of a file system, as a schedule says."""

    def __init__(self) -> None:
        self._mine = {name: threading.Semaphore(0) for name in "wd"}
        self._theirs = threading.Semaphore(0)
        self.over: set[str] = set()
        self._me = threading.local()

    def run(self, name: str, work: Callable[[], object]) -> threading.Thread:
        def turn() -> None:
            self._me.name = name
            self.wait()
            try:
                work()
            finally:
                self.over.add(name)
                self._theirs.release()

        thread = threading.Thread(target=turn)
        thread.start()
        assert self._theirs.acquire(timeout=5)
        return thread

    def wait(self) -> None:
        """Called by a thread before each of its calls."""
        if (name := getattr(self._me, "name", None)) is not None:
            self._theirs.release()
            assert self._mine[name].acquire(timeout=10)

    def grant(self, name: str) -> None:
        """Let the thread do its next call, if it has one."""
        if name not in self.over:
            self._mine[name].release()
            assert self._theirs.acquire(timeout=10)


class Gated:
    """A file system each call of which waits for its turn."""

    def __init__(self, files: Any, turns: Turns) -> None:
        self._files, self._turns = files, turns

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._files, name)

        def gated(*args: Any, **named: Any) -> Any:
            self._turns.wait()
            return call(*args, **named)

        return gated


def orders() -> Iterator[str]:
    """How the calls of a writer and of a deleter may lie between each other: every way in which one is interrupted
    once, at any call, for any number of calls of the other, and some in which that happens twice."""
    for first, second, third in itertools.product(range(7), range(7), (0, 2)):
        yield "w" * first + "d" * second + "w" * third + "d" * 7
        yield "d" * first + "w" * second + "d" * third + "w" * 7


@pytest.mark.slow
@pytest.mark.parametrize("there", ["touched", "old", "cut off", "missing"])
def test_whatever_the_order_of_their_calls_what_write_returned_for_is_there(
    monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    lost = []
    for order in orders():
        url = f"memory://{uuid.uuid4()}"
        store, all = UrlArtifacts(url), UrlShelves(url)
        files, path = store._files, store._path(SHA256)
        _prepare(store, there)
        before = time.time()
        turns = Turns()
        store._files, all._files = Gated(store._files, turns), Gated(all._files, turns)
        threads = [
            turns.run("w", lambda store=store: store.write(DATA)),  # type: ignore[misc]
            turns.run("d", lambda all=all, before=before: all.forget(MINE, SHA256, before)),  # type: ignore[misc]
        ]
        for name in itertools.chain(order, itertools.cycle("wd")):
            turns.grant(name)
            if turns.over == {"w", "d"}:
                break
        for thread in threads:
            thread.join(5)
        if files.cat_file(path) != DATA:
            lost.append(order)
        files.store.clear()  # it looks through all of it for what is not there

    assert lost == []


def _prepare(store: UrlArtifacts, there: str) -> None:
    path = store._path(SHA256)
    if there != "missing":
        store._files.pipe_file(path, DATA[:-1] if there == "cut off" else DATA)
    if there == "touched":
        store._files.pipe_file(path + TOUCHED, b"")


@pytest.fixture
def bucket() -> Place:
    url = f"memory://{uuid.uuid4()}"
    return Place(lambda tenant: UrlArtifacts(url, tenant), UrlShelves(url))


def path_of(place: Place) -> tuple[Any, str]:
    assert isinstance(place.shelves, UrlShelves)
    return place.shelves._files, f"{place.shelves._root}/{MINE}/{SHA256[:2]}/{SHA256}"


def test_a_deleter_that_is_too_slow_gives_up(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.store("").write(DATA)
    monkeypatch.setattr(shelves, "GIVE_UP", -1.0)

    assert not bucket.shelves.forget(MINE, SHA256, EVER)
    assert bucket.store("").read(SHA256) == DATA


def test_a_deleter_that_died_holds_nobody_up_for_ever(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.store("").write(DATA)
    files, path = path_of(bucket)
    files.pipe_file(path + GOING, b"")
    monkeypatch.setattr(artifacts, "GOING_SECONDS", 0.2)

    began = time.monotonic()
    bucket.store("").write(DATA)

    assert 0.2 <= time.monotonic() - began < 5
    monkeypatch.setattr(shelves, "DEAD", -1.0)
    bucket.old(0.0)
    assert not files.exists(path + GOING)


def test_what_a_deleter_that_died_left_behind_goes_too(bucket: Place) -> None:
    bucket.store("").write(DATA)
    files, path = path_of(bucket)
    files.pipe_file(path + TOUCHED, b"")
    files.rm_file(path)

    assert bucket.old(0.0) == set()
    assert files.exists(path + TOUCHED)
    assert bucket.old(EVER) == set()
    assert not files.exists(path + TOUCHED)


def test_what_tells_no_age_is_never_old(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.store("").write(DATA)
    monkeypatch.setattr(shelves, "_MOMENTS", ("unheard of",))

    assert bucket.old(EVER) == set()
    assert not bucket.shelves.forget(MINE, SHA256, EVER)


@pytest.mark.parametrize(
    ("info", "moment"),
    [
        ({"mtime": 5.5}, 5.5),
        ({"updated": "1970-01-01T00:00:07.000Z"}, 7.0),
        ({"LastModified": None, "created": 3}, 3.0),
        ({"size": 3}, None),
        ({"mtime": b"?"}, None),
    ],
)
def test_file_systems_tell_the_age_in_their_own_ways(info: dict[str, Any], moment: float | None) -> None:
    assert shelves._moment(info) == moment


def test_a_store_that_forgets_everything_at_once_is_told(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UrlArtifacts, "_size", lambda *_: None)

    with pytest.raises(OSError, match="gone as often as it is written"):
        bucket.store("").write(DATA)
