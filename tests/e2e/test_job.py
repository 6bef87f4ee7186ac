"""A Ray job that feeds a file through the pool: killed in the middle, and started as anybody starts a Ray job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray

from agents.ids import new_id
from cluster.apikeys import new_text
from deployments.state import StateFolder
from tests.e2e.commands import ROOT, House, house
from tests.processes import command
from tests.raycluster import ray_cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

LINES = 6000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house"), RUBATO_SERVE_DASHBOARD="true") as made:
        ended = made.up()
        assert ended.returncode == 0, ended.stderr
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"text": "line {n}\u2028"}}\n' for n in range(1, LINES + 1)))
    return path


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def drivers(made: House) -> list[psutil.Process]:
    return [process for process in made.processes() if "deployments.job" in command(process)]


def test_a_ray_job_that_is_killed_goes_on_and_neither_loses_nor_doubles_a_line(
    running: House, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    before = running.json("status")["tasks"].get("completed", 0)
    with running.start("job", "echo", str(source), str(out), "--window", "1000", "--json") as job:
        while not (out.exists() and out.read_bytes().count(b"\n") > 500):
            assert job.poll() is None, job.communicate()
            time.sleep(0.02)
        (driver,) = drivers(running)
        driver.kill()
        _, err = job.communicate(timeout=120)
    part = out.read_bytes().count(b"\n")

    again = running.end("job", "echo", str(source), str(out), "--window", "1000", "--json")

    assert job.returncode == 1
    assert "Ray job" in err
    assert part < LINES
    assert again.returncode == 0, again.stderr
    assert "Ray job" in again.stderr
    said = [json.loads(line) for line in again.stdout.splitlines()]
    assert any("are recorded already" in words.get("text", "") for words in said)
    assert (said[-1]["end"], said[-1]["completed"]) == ("completed", LINES)
    found = records(out)
    assert [record["line"] for record in found] == list(range(1, LINES + 1))
    assert all(record["output"] == {"text": f"line {record['line']}\u2028"} for record in found)
    assert running.json("status")["tasks"]["completed"] - before == LINES


@pytest.mark.long
def test_ctrl_c_stops_the_ray_job_which_cancels_what_is_in_flight(running: House, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "x"}\n' * 200)
    journal = Path(f"{out}.job")
    httpx.post(f"{running.url}/v1/agents/echo/pause")
    try:
        with running.start("job", "echo", str(source), str(out), "--cancel-on-interrupt") as job:
            while not (journal.exists() and b"accepted" in journal.read_bytes()):
                assert job.poll() is None, job.communicate()
                time.sleep(0.02)
            job.send_signal(signal.SIGINT)
            _, err = job.communicate(timeout=120)
        canceled = running.json("status")["tasks"]["canceled"]
    finally:
        httpx.post(f"{running.url}/v1/agents/echo/resume")

    assert (job.returncode, canceled) == (130, 200)
    assert "The same command goes on from here" in err
    assert drivers(running) == []
    assert running.end("job", "echo", str(source), str(out), "--cancel-on-interrupt").returncode == 0
    assert len(records(out)) == 200


@pytest.mark.long
def test_ray_itself_can_submit_the_driver_which_finds_the_gateway(running: House, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "x"}\n' * 20)
    folder = StateFolder(running.state)
    record = folder.running()
    assert record is not None
    program = str(Path(sys.executable).with_name("ray"))
    command = [program, "job", "submit", "--address", record.dashboard, "--working-dir", str(ROOT), "--"]
    command += [sys.executable, "-m", "deployments.job", "echo", str(source), str(out)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RUBATO_"))}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder.token)}

    ended = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=240, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "all 20 lines are in" in ended.stdout
    assert len(records(out)) == 20


def test_a_wrong_token_is_told_in_a_line(running: House, tmp_path: Path) -> None:
    """As a copy of the state folder would have it that was made before `up` made another secret."""
    other, record = StateFolder(tmp_path / "state"), StateFolder(running.state).running()
    assert record is not None
    other.make()
    other.remember(record)
    other.token.write_text("0" * 64)
    (tmp_path / "in.jsonl").write_text("")

    ended = replace(running, state=other.path).end("job", "echo", f"{tmp_path}/in.jsonl", f"{tmp_path}/out.jsonl")

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "RAY_AUTH_TOKEN_PATH" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.long
def test_on_a_cluster_of_others_the_job_carries_our_code_and_the_callers_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # `python` there has what we need
    with ray_cluster(dashboard=True):
        auth = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
        address = ray.get_runtime_context().gcs_address
        with house(tmp_path, RAY_ADDRESS=address, RUBATO_ADMIN_KEY=new_text(new_id()), **auth) as made:
            key = made.env["RUBATO_ADMIN_KEY"]
            up = made.up()
            assert up.returncode == 0, up.stderr
            caller = replace(made, env={"RUBATO_KEY": key, **auth})
            (tmp_path / "in.jsonl").write_text('{"text": "x"}\n' * 30)
            paths = (str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"))

            done = caller.end("job", "echo", *paths)
            without = replace(made, env=auth).end("job", "echo", paths[0], f"{tmp_path}/other.jsonl")
            no_token = replace(made, env={"RUBATO_KEY": key, "RAY_AUTH_MODE": "disabled"}).end("job", "echo", *paths)
            made.run("down")

    assert done.returncode == 0, done.stderr
    assert "Ray job rubato-job-" in done.stderr
    assert len(records(tmp_path / "out.jsonl")) == 30
    assert without.returncode == 1
    assert "A key is needed" in without.stderr
    assert no_token.returncode == 1
    assert "Traceback" not in no_token.stderr
    assert len(no_token.stderr.splitlines()) == 1
    assert "RAY_AUTH_TOKEN_PATH" in no_token.stderr
