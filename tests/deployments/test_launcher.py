"""The launcher, beside a Python that only says how it was called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "rubato"
SAYS = '#!/bin/sh\nprintf "%s\\n" "$PYTHONPATH" "$@"\n'


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A checkout in a folder with a space in its name, whose environment is as its lock file says."""
    house = tmp_path / "a house"
    (house / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(LAUNCHER, house)
    python = house / ".venv" / "bin" / "python"
    python.write_text(SAYS)
    python.chmod(0o755)
    for lock in (house / "requirements.lock", house / ".venv" / "requirements.lock"):
        lock.write_text("thing==1\n")
    return house


def launch(program: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([program, *arguments], cwd="/", env={**clean, **env}, capture_output=True, text=True)


def test_arguments_reach_the_command_line_as_they_are(house: Path) -> None:
    said = launch(house / "rubato", "run", "echo", '{"text": "two words"}').stdout.splitlines()

    assert said == [str(house), "-P", "-m", "deployments.cli", "run", "echo", '{"text": "two words"}']


def test_our_root_comes_before_what_the_user_has_on_the_path(house: Path) -> None:
    assert launch(house / "rubato", PYTHONPATH="/shop:/more").stdout.splitlines()[0] == f"{house}:/shop:/more"


def test_it_finds_its_house_through_links(house: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "first").symlink_to("../a house/rubato")
    (tmp_path / "second").symlink_to(tmp_path / "bin" / "first")

    assert launch(tmp_path / "second").stdout.splitlines()[0] == str(house)


def test_without_a_python_that_fits_it_says_so(house: Path, tmp_path: Path) -> None:
    (house / "requirements.lock").write_text("thing==2\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "dirname", "readlink", "cmp"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)

    ended = launch(house / "rubato", PATH=str(tools))

    assert ended.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in ended.stderr
    assert ended.stdout == ""
