"""The driver as a process of its own, against a real HTTP server: killed, interrupted, refused."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from agents import Agent, Background, Context
from deployments.cli.client import Client
from deployments.ingress import free_ports
from deployments.job.errors import WrongUsage
from deployments.job.finding import find_key
from tests.deployments.whole import Parrot, Whole, whole

from .pools import read

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SECONDS = 60


class Count(BaseModel):
    """A number."""

    n: int


class Held(Agent[Count, Count]):
    """Ends when the test says so."""

    name = "held"
    background = Background(max_attempts=1)
    released = threading.Event()

    async def run(self, ctx: Context, count: Count) -> Count:
        while not self.released.is_set():
            await asyncio.sleep(0.01)
        return count


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("whole"), [Parrot, Held]) as running:
        yield running


@pytest.fixture(autouse=True)
def held() -> Iterator[None]:
    Held.released.clear()
    yield
    Held.released.set()


def start(url: str, *arguments: object, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "deployments.job", *map(str, arguments)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RUBATO_")}
    env = {**inherited, "PYTHONPATH": str(ROOT), "RUBATO_URL": url, **env}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd="/", text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def run(url: str, *arguments: object, **env: str) -> tuple[int, str, str]:
    return ended(start(url, *arguments, **env))


def until(met: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + SECONDS
    while not met():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.005)


def tasks(url: str, out: Path) -> list[dict[str, Any]]:
    """All tasks of the job that writes there."""
    id = json.loads(Path(f"{out}.job").read_bytes().split(b"\n")[0])["job"]["id"]
    return [task for task in Client(url).all("/v1/tasks") if f"job-{id}" in task["tags"]]


def numbers(file: Path, count: int) -> Path:
    file.write_text("".join(f'{{"n": {n}}}\n' for n in range(1, count + 1)))
    return file


def test_lines_of_all_kinds_get_their_records_over_http(running: Whole, tmp_path: Path) -> None:
    texts = [
        '{"text": "one"}',
        "",
        '{"text": "two\u2028\u0085é"}\r',
        '{"txt": "three"}',
        "four",
        '{"text": "fail"}',
        "[]",
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join(texts).encode())
    out = tmp_path / "out.jsonl"

    code, said, err = run(running.url, "parrot", tmp_path / "in.jsonl", out, "--json")

    assert code == 1
    assert err == ""
    assert [(record["line"], record["output"]["text"]) for record in read(out)] == [(1, "ONE"), (3, "TWO\u2028\u0085É")]
    failures = {record["line"]: record["error"] for record in read(tmp_path / "out.errors.jsonl")}
    assert {line: error["type"] for line, error in failures.items()} == {
        4: "invalid_input",
        5: "malformed_json",
        6: "permanent",
        7: "invalid_input",
    }
    assert "text: Field required" in failures[4]["detail"]
    last = json.loads(said.splitlines()[-1])
    assert (last["job"], last["end"], last["lines"], last["completed"], last["failed"]) == ("ended", "failed", 6, 2, 4)


@pytest.mark.parametrize("order", ["input", "completion"])
def test_a_driver_that_is_killed_again_and_again_loses_and_doubles_nothing(
    running: Whole, tmp_path: Path, order: str
) -> None:
    count, out = 300, tmp_path / "out.jsonl"
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "line {n}"}}\n' for n in range(1, count + 1)))
    arguments = ("parrot", tmp_path / "in.jsonl", out, "--order", order, "--window", 60)
    kills = 0
    for goal in range(60, count, 90):
        with start(running.url, *arguments) as process:
            until(lambda goal=goal: out.exists() and out.read_bytes().count(b"\n") >= goal, process)  # type: ignore[misc]
            process.kill()
            process.communicate(timeout=SECONDS)
            kills += 1

    code, _, err = run(running.url, *arguments)

    assert (code, kills) == (0, 3), err
    assert "going on" in err
    records = read(out)
    assert sorted(record["line"] for record in records) == list(range(1, count + 1))
    assert all(record["output"]["text"] == f"LINE {record['line']}" for record in records)
    assert order == "completion" or records == sorted(records, key=lambda record: record["line"])
    made = tasks(running.url, out)
    assert {task["id"] for task in made} == {record["id"] for record in records}
    assert {task["attempts"] for task in made} == {1}
    again = run(running.url, *arguments)
    assert again[0] == 0
    assert read(out) == records


def test_ctrl_c_says_how_to_go_on_and_leaves_the_pool_at_work(running: Whole, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ("held", numbers(tmp_path / "in.jsonl", 50), out)
    with start(running.url, *arguments) as process:
        until(lambda: Path(f"{out}.job").exists() and b"accepted" in Path(f"{out}.job").read_bytes(), process)
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)
    Held.released.set()

    assert code == 130
    assert "The same command goes on from here" in err
    assert "goes on in the pool" in err
    assert "Traceback" not in err
    assert run(running.url, *arguments)[0] == 0
    assert [record["output"]["n"] for record in read(out)] == list(range(1, 51))
    assert {task["attempts"] for task in tasks(running.url, out)} == {1}


def test_ctrl_c_cancels_what_is_in_flight_where_it_is_asked_to(running: Whole, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ("held", numbers(tmp_path / "in.jsonl", 50), out, "--cancel-on-interrupt")
    with start(running.url, *arguments) as process:
        until(lambda: Path(f"{out}.job").exists() and b"accepted" in Path(f"{out}.job").read_bytes(), process)
        process.send_signal(signal.SIGTERM)
        code, _, err = ended(process)
    ends = time.monotonic() + SECONDS
    while {task["state"] for task in tasks(running.url, out)} != {"canceled"}:
        assert time.monotonic() < ends
        time.sleep(0.05)
    Held.released.set()

    assert code == 130
    assert "is canceled" in err
    assert run(running.url, *arguments)[0] == 0
    assert [record["output"]["n"] for record in read(out)] == list(range(1, 51))
    assert len(tasks(running.url, out)) == 50


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("parott", "in.jsonl", "out.jsonl"), 1, "no agent 'parott'; did you mean 'parrot'?"),
        (("parrot", "no.jsonl", "out.jsonl"), 2, "no.jsonl: No such file or directory"),
        (("parrot", ".", "out.jsonl"), 2, "it is read twice, and so has to be a file"),
        (("parrot", "in.jsonl", "no/out.jsonl"), 2, "no/out.jsonl: No such file or directory"),
        (("parrot", "in.jsonl", "in.jsonl"), 2, "IN and OUT are the same file"),
        (("parrot", "in.jsonl", "there.jsonl"), 2, "there.jsonl is there already"),
        (("parrot", "nowhere://b/in.jsonl", "out.jsonl"), 2, "nowhere://b/in.jsonl: "),
        (("parrot", "in.jsonl", "out.jsonl", "--limit-key", "agent:x"), 1, "options.limit_key"),
        (("parrot", "in.jsonl", "out.jsonl", "--market", "flea"), 1, "options.market"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(
    running: Whole, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "hello"}\n')
    (tmp_path / "there.jsonl").write_text("mine\n")
    agent, *places = arguments
    paths = [place if "://" in place or place[:1] not in "no.iut" else tmp_path / place for place in places[:2]]

    found, out, err = run(running.url, agent, *paths, *places[2:])

    assert (found, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1 or "options" in said
    assert (tmp_path / "there.jsonl").read_text() == "mine\n"


def test_an_input_that_was_changed_is_refused(running: Whole, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "hello"}\n')
    assert run(running.url, "parrot", tmp_path / "in.jsonl", tmp_path / "out.jsonl")[0] == 0
    (tmp_path / "in.jsonl").write_text('{"text": "hallo"}\n')

    code, _, err = run(running.url, "parrot", tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    assert code == 2
    assert "IN has changed since" in err
    assert len(err.splitlines()) == 1


def test_an_empty_input_is_done_at_once(running: Whole, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"")

    assert run(running.url, "parrot", tmp_path / "in.jsonl", tmp_path / "out.jsonl")[0] == 0
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_without_a_rubato_it_says_how_to_start_one(tmp_path: Path) -> None:
    numbers(tmp_path / "in.jsonl", 1)

    code, _, err = run("", "held", tmp_path / "in.jsonl", tmp_path / "out.jsonl", RUBATO_STATE=str(tmp_path / "none"))

    assert code == 1
    assert "./rubato up" in err
    assert len(err.splitlines()) == 1


def test_a_rubato_that_is_not_up_any_more_is_not_waited_for_at_length(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    began = time.monotonic()

    code, _, err = run(f"http://127.0.0.1:{port}", "held", numbers(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl")

    assert code == 1
    assert "cannot be reached" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert time.monotonic() - began < 30
    assert not (tmp_path / "out.jsonl").exists()


def test_the_job_acts_with_the_key_of_its_caller_and_no_further(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "hello"}\n')
    with whole(tmp_path / "whole", [Parrot], guarded=True) as guarded, httpx.Client(base_url=guarded.url) as http:
        made: dict[str, str] = {}
        for scope in ("admin", "run", "submit"):
            auth = {"Authorization": f"Bearer {made['admin']}"} if made else {}
            scopes = ["run", "submit", "admin"] if scope == "admin" else [scope]
            body = {"name": scope, "scopes": scopes} | ({"tenant": "acme"} if made else {})
            made[scope] = http.post("/v1/keys", json=body, headers=auth).json()["key"]
            while http.get("/v1/tasks", headers={"Authorization": f"Bearer {made[scope]}"}).status_code == 401:
                time.sleep(0.02)
        (tmp_path / "key").write_text(f"{made['submit']}\n")

        none = run(guarded.url, "parrot", source, tmp_path / "1.jsonl")
        wrong = run(guarded.url, "parrot", source, tmp_path / "1.jsonl", RUBATO_KEY="rbt_wrong")
        narrow = run(guarded.url, "parrot", source, tmp_path / "2.jsonl", RUBATO_KEY=made["run"])
        good = run(guarded.url, "parrot", source, tmp_path / "3.jsonl", RUBATO_KEY_FILE=str(tmp_path / "key"))
        (task,) = http.get("/v1/tasks", headers={"Authorization": f"Bearer {made['submit']}"}).json()["items"]

    assert [code for code, _, _ in (none, wrong, narrow, good)] == [1, 1, 1, 0]
    assert "A key is needed" in none[2]
    assert len(none[2].splitlines()) == len(wrong[2].splitlines()) == 1
    assert "scope submit" in narrow[2]
    assert task["tenant"] == "acme"
    assert read(tmp_path / "3.jsonl")[0]["id"] == task["id"]


def test_a_key_for_once_is_gone_when_it_was_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("rbt_once\n")

    assert find_key({"RUBATO_KEY": "rbt_other"}, tmp_path / "key") == "rbt_once"
    assert not (tmp_path / "key").exists()
    with pytest.raises(WrongUsage, match="No such file"):
        find_key({}, tmp_path / "key")
    with pytest.raises(WrongUsage, match="cannot be a key"):
        find_key({"RUBATO_KEY": "é"}, None)
