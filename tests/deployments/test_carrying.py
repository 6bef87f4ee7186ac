"""What is gathered before anything starts, and what keeps it from starting."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from cluster import raylocal
from deployments.carrying import CannotCarry, Carried, carry, equipment, on_nodes
from deployments.phases import PhaseFailed, Phases
from deployments.runtimetable import RuntimeTable
from deployments.state import StateFolder
from tests.e2e.userpackage import make_package, make_wheel

ROOT = Path(__file__).resolve().parents[2]


class Nobody:
    """Who listens to no phase."""

    def begins(self, phase: str) -> None: ...

    def ends(self, phase: str, seconds: float) -> None: ...

    def says(self, phase: str, words: str) -> None: ...


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.make()
    return made


def carried(state: StateFolder, shell: dict[str, str] | None = None, /, **table: Any) -> Carried:
    return carry(RuntimeTable.model_validate(table), state, shell or {}, Phases(Nobody(), {}))


def package(folder: Path, name: str = "shop", file: str = "__init__.py") -> str:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / file).write_text("price = 1\n")
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "there is no such folder"),
        ("with-dash", "'with-dash' cannot be imported"),
        ("cluster", "Rubato has a package 'cluster' of its own"),
        ("data", "no Python file is in there"),
    ],
)
def test_a_folder_that_is_no_package_is_refused_by_its_name(
    state: StateFolder, tmp_path: Path, name: str, says: str
) -> None:
    package(tmp_path, "with-dash")
    package(tmp_path, "cluster")
    package(tmp_path, "data", "a.txt")

    with pytest.raises(CannotCarry) as refused:
        carried(state, packages=[str(tmp_path / name)])

    assert str(refused.value) == f"[runtime] packages names {tmp_path / name}, and {says}"


def test_all_that_is_missing_is_told_at_once_and_no_value_with_it(state: StateFolder, tmp_path: Path) -> None:
    twice = [package(tmp_path / "a"), package(tmp_path / "b")]

    with pytest.raises(CannotCarry) as refused:
        carried(state, {"THERE": "hush"}, packages=twice, secrets=["KEY", "THERE", "TOKEN"])

    assert refused.value.args == (
        "[runtime] packages has 'shop' twice",
        "[runtime] secrets names KEY, TOKEN, and the environment of this command has no such value",
    )


def test_each_part_has_a_mark_of_its_own_and_the_same_is_the_same(state: StateFolder, tmp_path: Path) -> None:
    table: dict[str, Any] = {"packages": [package(tmp_path)], "env": {"TOWN": "Ulm"}, "secrets": ["KEY"]}
    one, same = carried(state, {"KEY": "hush"}, **table), carried(state, {"KEY": "hush"}, **table)
    rotated = carried(state, {"KEY": "other"}, **table)
    moved = carried(state, {"KEY": "hush"}, **table | {"env": {"TOWN": "Bonn"}})
    (tmp_path / "shop" / "prices.json").write_text("{}")
    grown = carried(state, {"KEY": "hush"}, **table)
    elsewhere = carried(_other(tmp_path), {"KEY": "hush"}, **table)

    assert one == same
    assert (rotated.code, rotated.around != one.around) == (one.code, True)
    assert (moved.code, moved.around != one.around, moved.digests) == (one.code, True, one.digests)
    assert (grown.code != one.code, grown.around) == (True, one.around)
    assert elsewhere.digests != one.digests, "nobody can try values without the key of the state folder"
    assert "hush" not in repr(one)


def _other(folder: Path) -> StateFolder:
    made = StateFolder(folder / "other")
    made.make()
    return made


@pytest.mark.slow
def test_what_pip_installs_fits_what_runs_here(state: StateFolder, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "w")
    ours = make_wheel(tmp_path / "ours", "psutil", version("psutil"))
    found = carried(state, pip=[str(wheel), str(ours)]).site
    assert found is not None
    made = found.stat().st_ino

    assert sorted(path.name for path in found.iterdir()) == ["fortune-1.5.dist-info", "fortune.py"]
    carried(state, pip=[str(wheel), str(ours)])
    assert found.stat().st_ino == made, "the same is not installed twice"
    with pytest.raises(PhaseFailed, match="psutil"):
        carried(state, pip=[str(make_wheel(tmp_path / "old", "psutil", "0.1"))])


@pytest.mark.slow
def test_a_file_with_hashes_is_installed_by_them_and_not_where_one_is_another(
    state: StateFolder, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path)
    file, further = tmp_path / "needs.txt", tmp_path / "further.txt"
    file.write_text("-r further.txt\n")
    further.write_text(f"./{wheel.name} --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}\n")
    site = carried(state, pip=str(file)).site
    assert site is not None
    assert (site / "fortune.py").exists()
    further.write_text(f"./{wheel.name} --hash=sha256:{'0' * 64}\n")

    with pytest.raises(PhaseFailed, match=r"\[runtime\] pip: .*[Hh]ash"):
        carried(state, pip=str(file))
    with pytest.raises(PhaseFailed, match="No such file"):
        carried(state, pip=str(tmp_path / "nowhere.txt"))


@pytest.mark.slow
def test_a_package_is_loaded_here_without_what_lies_beside_it(state: StateFolder, tmp_path: Path) -> None:
    made = make_package(tmp_path / "theirs")
    (made.folder / "src" / "beside.py").write_text("")
    code = """
import os, sys
from pathlib import Path
from agents.catalog import load
from deployments.carrying import Carried, carry, enter
from deployments.phases import Phases
from deployments.settings import load as settings
from deployments.state import StateFolder
from tests.deployments.test_carrying import Nobody

state = StateFolder(Path(sys.argv[2]))
enter(carry(settings(Path(sys.argv[1]), {}, {}).runtime, state, os.environ, Phases(Nobody(), {})), state.path / "links")
print(load("shopping:Shop").name, os.environ["SHOP_TOWN"])
import beside
"""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code, str(made.folder / "rubato.toml"), str(state.path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SHOP_KEY": "x"},
        capture_output=True,
        text=True,
    )

    assert ended.stdout == "shop Ulm\n", ended.stderr
    assert ended.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'beside'"


def test_secrets_are_not_given_to_a_cluster_that_asks_nobody_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raylocal, "token", lambda: "")

    with pytest.raises(CannotCarry, match="whoever reaches this cluster could read KEY") as refused:
        equipment(Carried(secrets={"KEY": "hush"}))
    assert "hush" not in str(refused.value)
    assert equipment(Carried(env={"TOWN": "Ulm"})).env == (("TOWN", "Ulm"),)


def test_where_kubernetes_starts_ray_code_is_in_the_image_and_secrets_in_the_pods() -> None:
    table = RuntimeTable(env={"TOWN": "Ulm"}, secrets=["KEY"])

    assert on_nodes(table) == ((("TOWN", "Ulm"),), ("KEY",), b"")
    with pytest.raises(CannotCarry, match="packages and pip cannot be set where Kubernetes starts Ray"):
        on_nodes(RuntimeTable(packages=["/x"], pip=["y"]))
