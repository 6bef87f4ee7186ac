"""Old artifacts at a URL, in whatever order the calls of a writer and a sweeper come."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agents import artifacts, shelves
from agents.artifacts import GOING, TOUCHED, UrlArtifacts
from agents.shelves import UrlShelves

from .places import DATA, EVER, MINE, SHA256, Place


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
