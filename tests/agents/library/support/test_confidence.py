"""When there is enough to answer from."""

from __future__ import annotations

from itertools import product

from agents.library.support.confidence import confidence

STEPS = [0.0, 0.25, 0.5, 0.75, 1.0]


def test_more_evidence_of_any_kind_is_never_less_confidence() -> None:
    for topic, closest, coverage in product(STEPS, repeat=3):
        here = confidence(topic, closest, coverage)

        assert 0 < here < 1
        assert confidence(topic + 0.1, closest, coverage) > here
        assert confidence(topic, closest + 0.1, coverage) > here
        assert confidence(topic, closest, coverage + 0.1) > here


def test_shared_words_alone_are_not_enough_and_a_shared_meaning_alone_is() -> None:
    assert confidence(0.0, 0.0, 1.0) < 0.5
    assert confidence(0.8, 0.8, 0.0) > 0.5
