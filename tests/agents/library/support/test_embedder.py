"""Vectors that mean what the texts mean."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from agents.library.support.embedder import BATCH, SIZE, Embedder, batches


def test_vectors_have_length_one_and_keep_the_order_of_their_texts(embed: Embedder) -> None:
    texts = ["short", "a very long text " * 60, "", "something else", "short"]

    vectors = embed(texts)

    assert vectors.shape == (5, SIZE)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[0], vectors[4], atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.allclose(embed([text])[0], vector, atol=1e-4)  # whatever shared its batch


def test_like_meanings_are_nearer_than_like_words(embed: Embedder) -> None:
    asked, same, other = embed(
        ["How do I get my money back?", "Refunds take five working days.", "How do I get to the back gate?"]
    )

    assert asked @ same > asked @ other


def test_threads_may_share_it(embed: Embedder) -> None:
    texts = [f"sentence number {number}" for number in range(24)]
    alone = embed(texts)

    with ThreadPoolExecutor(4) as pool:
        shared = list(pool.map(lambda text: embed([text])[0], texts))

    assert np.allclose(alone, shared, atol=1e-4)


def test_no_text_is_no_vector(embed: Embedder) -> None:
    assert embed([]).shape == (0, SIZE)


def test_batches_hold_every_place_once_and_stay_small() -> None:
    lengths = [3, 250, 17, 17, 90, 4, 120, 8] * 5

    made = list(batches(lengths))

    assert sorted(place for batch in made for place in batch) == list(range(40))
    assert all(len(batch) * max(lengths[place] for place in batch) <= BATCH for batch in made)
