"""What a process gets before it loads agents."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cluster import equipment, raylocal
from cluster.equipment import SITE, Equipment, NotEquipped, equip, seal, unseal


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it stays in this process."""
    for name in ("TOWN", "KEY"):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(raylocal, "token", lambda: "the cluster's")


def test_environment_and_secrets_are_there_afterwards() -> None:
    equip(Equipment((("TOWN", "Ulm"),), ("KEY",), seal({"KEY": "hush"}, "the cluster's")))

    assert (os.environ["TOWN"], os.environ["KEY"]) == ("Ulm", "hush")


def test_what_is_sealed_shows_nothing_and_opens_to_the_token_alone() -> None:
    sealed = seal({"KEY": "hush"}, "one")

    assert b"hush" not in sealed
    assert b"KEY" not in sealed
    assert seal({"KEY": "hush"}, "one") != sealed
    assert unseal(sealed, "one") == {"KEY": "hush"}
    with pytest.raises(NotEquipped, match="another token"):
        unseal(sealed, "two")


def test_a_secret_that_the_node_should_have_and_has_not_is_named() -> None:
    with pytest.raises(NotEquipped, match=r"secrets names KEY, which this node's environment has not"):
        equip(Equipment(secrets=("KEY",)))
    os.environ["KEY"] = "of the pod"
    equip(Equipment(secrets=("KEY",)))


def test_what_pip_installed_comes_behind_all_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / SITE).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    equip(Equipment())

    assert sys.path[-1] == str(tmp_path / SITE)
    assert equipment.SITE not in sys.modules
