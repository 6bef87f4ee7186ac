"""`up`, `down` and what lies between, with real processes."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.commands import House, house

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One that is up, lets in little, and records less."""
    limits = {"RUBATO_SERVE_INPUT_BYTES": "500", "RUBATO_POOL_RESULT_BYTES": "400"}
    with house(tmp_path_factory.mktemp("house"), **limits) as made:
        ended = made.up()
        assert ended.returncode == 0, ended.stderr
        assert made.url in ended.stderr
        yield made


BROKEN = """
from pydantic import BaseModel
from agents import Agent, Context


class Shop(Agent[str, str]):
    name = "shop"

    def setup(self) -> None:
        raise RuntimeError("no stock today")

    async def run(self, ctx: Context, question: str) -> str:
        return question
"""


def listeners(house: House) -> set[str]:
    """Which of its processes listen for connections from elsewhere."""
    ours = {process.pid for process in house.processes()}
    found = [listener for listener in psutil.net_connections("tcp") if listener.status == psutil.CONN_LISTEN]
    return {
        psutil.Process(listener.pid).name()
        for listener in found
        if listener.pid in ours and listener.laddr.ip not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    }


def test_one_agent_answers_at_both_tempos(running: House) -> None:
    assert running.json("run", "echo", '{"text": "now"}') == {"text": "now"}
    assert running.json("submit", "echo", '{"text": "later"}', "--wait")["task"]["output"] == {"text": "later"}


def test_a_limit_that_is_set_holds_at_both_tempos(running: House) -> None:
    too_much = f'{{"text": "{"x" * 600}"}}'

    assert "at most 500 bytes" in running.end("run", "echo", too_much).stderr
    assert "at most 500 bytes" in running.end("submit", "echo", too_much).stderr


def test_a_limit_of_results_that_is_set_holds_in_the_workers(running: House) -> None:
    id = running.json("submit", "echo", f'{{"text": "{"x" * 450}"}}')["id"]

    running.end("watch", id)

    error = httpx.get(f"{running.url}/v1/tasks/{id}").json()["error"]
    assert error["type"] == "invalid_output"
    assert "the limit is 400" in error["detail"]


def test_a_paused_agent_starts_no_task_and_still_answers_at_once(running: House) -> None:
    """The pause is taken by the agent's own application, and kept by the ledger."""
    with httpx.Client(base_url=running.url, timeout=30) as http:
        paused = http.post("/v1/agents/echo/pause").json()
        id = running.json("submit", "echo", '{"text": "later"}')["id"]
        held = http.get(f"/v1/tasks/{id}").json()["waiting_on"]
        live = running.json("run", "echo", '{"text": "now"}')
        resumed = http.post("/v1/agents/echo/resume").json()

    assert paused == {"agent": "echo", "paused_until": "9999-01-01T00:00:00.000Z"}
    assert (held["reason"], held["limit_key"]) == ("paused", "agent:echo")
    assert live == {"text": "now"}
    assert resumed == {"agent": "echo", "paused_until": None}
    assert running.lines("watch", id)[-1]["type"] == "output"


def test_a_batch_under_a_limit_gives_all_its_results(running: House) -> None:
    """Through the real ingress: a limit key may hold a slash, and the results are a stream."""
    body = {"agent": "echo", "inputs": [{"text": str(n)} for n in range(200)], "options": {"limit_key": "a/b"}}
    with httpx.Client(base_url=running.url, timeout=30) as http:
        limit = http.put("/v1/limits/a%2Fb", json={"concurrency": 3}).json()
        batch = http.post("/v1/tasks/batch", json=body).json()
        for id in batch["task_ids"]:
            http.get(f"/v1/tasks/{id}", headers={"Prefer": "wait=60"})
        counts = http.get(f"/v1/batches/{batch['batch_id']}").json()
        lines = http.get(f"/v1/batches/{batch['batch_id']}/results").text.splitlines()

    assert (limit["limit_key"], limit["concurrency"]) == ("a/b", 3)
    assert (counts["total"], counts["states"]["completed"]) == (200, 200)
    assert [json.loads(line)["output"] for line in lines] == body["inputs"]


def test_status_says_what_runs(running: House) -> None:
    status = running.json("status")

    assert (status["up"], status["ready"], status["url"]) == (True, True, running.url)
    assert status["agents"] == {"echo": {"agent": "agents.library.echo:Echo", "replicas": 1}}
    assert status["ingress"] == "haproxy"
    assert status["workers"][0]["ready"] >= 1
    assert status["store_bytes"] > 0


def test_nothing_is_open_to_other_machines_but_what_serve_opens_between_replicas(running: House) -> None:
    assert all(name.startswith("ray::ServeReplica:") for name in listeners(running))


def test_a_second_up_says_so_and_names_what_it_would_change(running: House) -> None:
    before = {process.pid for process in running.processes()}

    same = running.up()
    other = running.end("up", "--agents", "agents.library.echo:Echo", "--port", "9999", "--only")

    assert (same.returncode, other.returncode) == (0, 0)
    assert "already up" in same.stderr
    assert "->" not in same.stderr
    assert f"serve.port: {running.port} -> 9999" in other.stderr
    assert "down" in other.stderr
    assert before <= {process.pid for process in running.processes()}


def test_only_its_owner_may_look_into_the_state_folder(running: House) -> None:
    assert stat.S_IMODE(running.state.stat().st_mode) == 0o700
    assert stat.S_IMODE((running.state / "ray-token").stat().st_mode) == 0o600


def test_a_port_that_is_taken_is_named_with_who_has_it(running: House, tmp_path: Path) -> None:
    with house(tmp_path) as second:
        ended = second.end("up", "--agents", "agents.library.echo:Echo", "--only", "--port", str(running.port))

        assert ended.returncode == 1
        assert f"port {running.port}" in ended.stderr
        assert "another Rubato" in ended.stderr
        assert "--port" in ended.stderr
        assert second.processes() == []


def test_down_ends_every_process_and_the_next_up_knows_every_task(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        assert made.up().returncode == 0
        done = made.json("submit", "echo", '{"text": "kept"}', "--wait")["task"]["id"]

        made.run("down")
        left, folders = (
            made.processes(),
            list(Path("/tmp").glob(f"rubato-{made.state.joinpath('id').read_text()[:8]}*")),
        )
        assert made.up().returncode == 0
        (task,) = made.json("tasks")["items"]

        assert (left, folders) == ([], [])
        assert (task["id"], task["output"]) == (done, {"text": "kept"})
        assert made.json("run", "echo", '{"text": "again"}') == {"text": "again"}


def test_down_of_what_is_not_up_is_no_error(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        made.run("down")
        made.run("status", code=1)


@pytest.mark.long
def test_an_up_after_a_crash_of_everything_starts_anew_and_keeps_every_task(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        assert made.up().returncode == 0
        id = made.json("submit", "echo", '{"text": "kept"}')["id"]
        for process in made.processes():
            process.kill()

        assert made.up().returncode == 0

        assert made.lines("watch", id)[-1]["type"] == "output"


def test_an_agent_that_cannot_be_loaded_is_named_and_nothing_stays(tmp_path: Path) -> None:
    with house(tmp_path) as made:
        ended = made.end("up", "--only", "--agents", "nowhere.shop:Shop", "--port", str(made.port))

        assert ended.returncode == 1
        assert "nowhere.shop:Shop: there is no module nowhere" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert made.processes() == []


def test_an_agent_that_cannot_be_set_up_is_named_with_its_reason_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(BROKEN)
    with house(tmp_path, PYTHONPATH=str(tmp_path)) as made:
        ended = made.end("up", "--only", "--agents", "shop:Shop", "--port", str(made.port))

        assert ended.returncode == 1
        assert "no stock today" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert str(made.state / "logs") in ended.stderr
        assert made.processes() == []


def test_one_up_at_a_time_and_one_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    with house(tmp_path) as made, made.start("up", "--port", str(made.port)) as first:
        assert first.stderr is not None
        while "start Ray:" not in (line := first.stderr.readline()):
            assert line, "up ended before Ray had started"

        second = made.up()
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)

        assert second.returncode == 1
        assert f"process {first.pid}" in second.stderr
        assert first.returncode == 130
        assert made.processes() == []


def test_settings_that_do_not_hold_are_wrong_usage(tmp_path: Path) -> None:
    with house(tmp_path, RUBATO_SERVE_PROT="1") as made:
        ended = made.up()

        assert ended.returncode == 2
        assert "RUBATO_SERVE_PROT: there is no such setting" in ended.stderr
