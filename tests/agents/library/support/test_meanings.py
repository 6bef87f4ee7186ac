"""Vectors are kept from one start to the next, and never wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
from numpy.typing import NDArray

from agents.library.support.embedder import Embedder
from agents.library.support.meanings import Meanings, meanings
from agents.library.support.records import Passage


class Counting(Embedder):
    """The real model, with a list of what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return super().__call__(texts)


def passage(file: str, *sentences: str, heading: str = "") -> Passage:
    return Passage(
        file=file, heading=(heading,) if heading else (), first_line=1, last_line=1, sentences=tuple(sentences)
    )


def same(one: Meanings, other: Meanings) -> bool:
    return bool(
        np.allclose(one.sentences, other.sentences, atol=1e-4) and np.allclose(one.wholes, other.wholes, atol=1e-4)
    )


def test_what_was_met_before_is_not_computed_again(tmp_path: Path) -> None:
    embed = Counting()
    documents = [passage("a.md", "One.", "Two."), passage("b.md", "Three.", heading="B")]

    first = meanings(documents, embed, tmp_path)
    embed.asked.clear()
    second = meanings(documents, embed, tmp_path)

    assert embed.asked == []
    assert same(first, second)


def test_a_changed_document_is_computed_and_its_neighbour_is_not(tmp_path: Path) -> None:
    embed = Counting()
    meanings([passage("a.md", "One.", "Two."), passage("b.md", "Three.")], embed, tmp_path)
    embed.asked.clear()

    changed = meanings([passage("a.md", "One.", "Four."), passage("b.md", "Three.")], embed, tmp_path)

    assert set(embed.asked) == {"", "One.", "Four."}
    assert same(changed, meanings([passage("a.md", "One.", "Four."), passage("b.md", "Three.")], embed, None))


def test_another_model_does_not_read_this_ones_vectors(tmp_path: Path) -> None:
    embed = Counting()
    meanings([passage("a.md", "One.")], embed, tmp_path)
    embed.asked.clear()
    embed.digest = "another"

    meanings([passage("a.md", "One.")], embed, tmp_path)

    assert "One." in embed.asked


def test_a_damaged_file_is_computed_again_and_replaced(tmp_path: Path) -> None:
    embed = Counting()
    documents = [passage("a.md", "One.")]
    whole = meanings(documents, embed, tmp_path)
    [kept] = tmp_path.glob("*.npy")
    for damage in (b"", kept.read_bytes()[:200], b"not numpy at all"):
        kept.write_bytes(damage)
        embed.asked.clear()

        assert same(meanings(documents, embed, tmp_path), whole)
        assert "One." in embed.asked
        assert same(meanings(documents, embed, tmp_path), whole)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, embed: Embedder) -> None:
    (tmp_path / "file").write_text("in the way")

    found = meanings([passage("a.md", "One.")], embed, tmp_path / "file" / "cache")

    assert found.wholes.shape == (1, 384)


def test_nothing_half_written_is_left_behind(tmp_path: Path, embed: Embedder) -> None:
    meanings([passage("a.md", "One."), passage("b.md", "Two.")], embed, tmp_path / "new")

    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {".npy"}


def test_those_who_start_together_share_the_work(tmp_path: Path) -> None:
    embed, start = Counting(), Barrier(3)
    documents = [passage(f"{n}.md", *(f"{n} and {m} make {n + m}." for m in range(9))) for n in range(12)]

    def begin() -> Meanings:
        start.wait()
        return meanings(documents, embed, tmp_path)

    with ThreadPoolExecutor(3) as threads:
        found = [begun.result() for begun in [threads.submit(begin) for _ in range(3)]]

    assert sorted(embed.asked) == sorted(text for each in documents for text in ("", *each.sentences))
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy"}


def test_each_passage_finds_its_own_sentences_and_topic(embed: Embedder) -> None:
    documents = [passage("a.md", "Cats sleep.", "Dogs bark."), passage("a.md", "It is raining.", heading="Weather")]

    found = meanings(documents, embed, None)

    asked = embed(["What is the weather like?"])[0]
    assert [len(found.of(place)) for place in (0, 1)] == [2, 1]
    assert np.allclose(found.of(1)[0] @ asked, found.closest(asked)[1])
    assert found.topic(asked)[1] >= embed(["Weather"])[0] @ asked - 1e-4
    assert found.topic(asked)[1] > found.topic(asked)[0]
