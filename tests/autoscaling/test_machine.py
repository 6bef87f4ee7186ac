"""That machines which come up one after the other are given ports of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import machine


def test_ports_that_a_machine_was_given_are_given_to_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([[3, 4, 5, 6], [6, 7, 8, 9], [1, 7, 8, 9], [7, 8, 9, 10]])
    monkeypatch.setattr(machine, "free_ports", lambda count: next(found))
    path = tmp_path / "turn"
    path.write_text("1 2\n")  # the cluster's own

    given = []
    for _ in range(2):
        with path.open("a+") as turn:
            given.append(machine._own_ports(turn))

    assert given == [[3, 4, 5, 6], [7, 8, 9, 10]]
