"""What all shelves promise of old artifacts: found, forgotten, and never lost by who writes them again."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from agents.artifacts import FolderArtifacts, UrlArtifacts, shelf
from agents.shelves import FolderShelves, UrlShelves, shelves_at

from .places import DATA, EVER, MINE, OTHER, SHA256, Place


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
