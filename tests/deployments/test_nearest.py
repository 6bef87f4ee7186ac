"""Which name a wrong one was meant to be."""

from __future__ import annotations

from deployments.nearest import by_likeness, suggestion

NAMES = ["support", "echo", "documents"]


def test_the_most_alike_comes_first() -> None:
    assert by_likeness("suport", NAMES)[0] == "support"
    assert by_likeness("Document", NAMES)[0] == "documents"
    assert by_likeness("", NAMES) == sorted(NAMES)


def test_only_a_likely_name_is_suggested() -> None:
    assert suggestion("ehco", NAMES) == "; did you mean 'echo'?"
    assert suggestion("zzz", NAMES) == ""
    assert suggestion("zzz", []) == ""
