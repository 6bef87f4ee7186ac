"""`./rubato job` where there are no Ray jobs: the same driver as a process of its own, and what a caller sees of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.state import Running, StateFolder
from tests.deployments.job.pools import read
from tests.deployments.job.test_driver import Held, numbers, until
from tests.deployments.test_cli import on_a_terminal
from tests.deployments.whole import Parrot, Whole, whole

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("whole"), [Parrot, Held]) as running:
        yield running


@pytest.fixture
def state(running: Whole, tmp_path: Path) -> StateFolder:
    """The state folder of an `up` without Ray's dashboard."""
    folder = StateFolder(tmp_path / "state")
    folder.make()
    folder.remember(Running("c1", running.url, "127.0.0.1:1", "logs", "store", pid=os.getpid()))
    return folder


@pytest.fixture(autouse=True)
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"text": "line {n}"}}\n' for n in range(1, 21)))
    return path


def start(state: StateFolder, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "deployments.cli", "job", *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RUBATO_")}
    env |= {"PYTHONPATH": str(ROOT), "RUBATO_STATE": str(state.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, env=env, cwd=state.path.parent, text=True)


def run(state: StateFolder, *arguments: object) -> tuple[int, str, str]:
    with start(state, *arguments) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_without_ray_jobs_a_process_of_this_machine_drives_it_and_that_is_said(state: StateFolder) -> None:
    code, out, err = run(state, "parrot", "in.jsonl", "out.jsonl")

    assert (code, out) == (0, "")
    assert err.splitlines()[0] == (
        "a process of this machine drives it, since there are no Ray jobs: [serve] dashboard is off"
    )
    assert "20 of 20 lines" in err
    assert err.splitlines()[-1].startswith("all 20 lines are in ")
    assert [record["line"] for record in read(state.path.parent / "out.jsonl")] == list(range(1, 21))


def test_programs_are_told_in_json(state: StateFolder) -> None:
    code, out, err = run(state, "parrot", "in.jsonl", "out.jsonl", "--here", "--json", "--order", "completion")

    said = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert {words["job"] for words in said} == {"progress", "ended"}
    assert (said[-1]["end"], said[-1]["completed"], said[-1]["code"]) == ("completed", 20, 0)
    assert said[-1]["peak_bytes"] > 10_000_000


def test_a_terminal_is_shown_a_bar(running: Whole, tmp_path: Path) -> None:
    arguments = ("job", "parrot", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "--url", running.url)

    code, out, shown = on_a_terminal(*arguments)

    assert (code, out) == (0, "")
    assert "20/20" in shown
    assert "in flight" in shown


def test_options_reach_the_driver(state: StateFolder) -> None:
    asked = ["--priority=-3", "--tag=a b", "--tag=c", "--max-attempts=2", "--timeout=5", "--limit-key=me"]
    asked += ["--market=on_demand"]

    assert run(state, "parrot", "in.jsonl", "out.jsonl", *asked)[0] == 0

    header: dict[str, Any] = json.loads((state.path.parent / "out.jsonl.job").read_text().splitlines()[0])["job"]
    assert header["options"] == {
        "priority": -3,
        "tags": ["a b", "c"],
        "timeout": 5.0,
        "max_attempts": 2,
        "limit_key": "me",
        "market": "on_demand",
    }


def test_ctrl_c_stops_the_driver_which_says_how_to_go_on(state: StateFolder, source: Path) -> None:
    Held.released.clear()
    journal = state.path.parent / "out.jsonl.job"
    numbers(source, 20)
    with start(state, "held", "in.jsonl", "out.jsonl") as process:
        until(lambda: journal.exists() and b"accepted" in journal.read_bytes(), process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    Held.released.set()

    assert process.returncode == 130
    assert "The same command goes on from here" in err
    assert "Traceback" not in err
    assert run(state, "held", "in.jsonl", "out.jsonl")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("parott", "in.jsonl", "out.jsonl"), 1, "did you mean 'parrot'?"),
        (("parrot", "no.jsonl", "out.jsonl"), 2, "No such file or directory"),
        (("parrot", "in.jsonl", "out.jsonl", "--detach"), 2, "--detach needs Ray jobs"),
        (("parrot", "in.jsonl", "out.jsonl", "--order", "none"), 2, "none"),
        (("parrot", "in.jsonl", "out.jsonl", "--window", "0"), 2, "window"),
    ],
)
def test_what_cannot_be_done_is_told_with_the_exit_code(
    state: StateFolder, arguments: tuple[str, ...], code: int, said: str
) -> None:
    found, out, err = run(state, *arguments)

    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_on_a_cluster_of_others_a_relative_path_is_refused(state: StateFolder, running: Whole) -> None:
    state.remember(Running("c1", running.url, "127.0.0.1:1", "logs", "store"))

    code, _, err = run(state, "parrot", "in.jsonl", "out.jsonl")

    assert code == 2
    assert "in.jsonl: the driver runs on the cluster's head node" in err
