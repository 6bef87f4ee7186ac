"""Keys where it matters: on an address that others reach, with real replicas, and a ledger that stands still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cluster.apikeys import id_of
from tests.deployments.keys import bearer
from tests.e2e.commands import House, house
from tests.processes import command

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

RUN = "/v1/agents/echo/run"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, str]]:
    """One that listens on every interface, and the key that its `up` printed."""
    with house(tmp_path_factory.mktemp("house")) as made:
        ended = made.up("--host", "0.0.0.0")
        assert ended.returncode == 0, ended.stderr
        key = ended.stdout.strip()
        assert id_of(key) is not None
        assert key not in ended.stderr
        yield made, key


def test_nobody_gets_in_without_the_key_that_up_printed(running: tuple[House, str]) -> None:
    made, key = running
    with httpx.Client(base_url=made.url, timeout=30) as http:
        for method, path in (("GET", "/v1/tasks"), ("POST", RUN), ("GET", "/metrics"), ("GET", "/")):
            answer = http.request(method, path, headers={} if path == "/" else bearer("rbt_wrong"))
            assert (answer.status_code, answer.json()["type"]) == (401, "/problems/no-access")
        assert http.get("/readyz").status_code == 200
        assert http.get("/-/routes").status_code == 404
        assert "echo" not in http.get("/-/routes").text
        assert http.post(RUN, json={"text": "hi"}, headers=bearer(key)).json() == {"text": "hi"}
        assert http.get("/metrics", headers=bearer(key)).status_code == 200

    text = "".join(file.read_text(errors="replace") for file in made.state.rglob("*") if file.is_file())
    assert key not in text
    assert "RUBATO_KEY" in made.end("tasks").stderr


def test_a_revoked_key_lets_nobody_in_after_five_seconds(running: tuple[House, str]) -> None:
    made, key = running
    operator = replace(made, env={"RUBATO_KEY": key})
    other = operator.json("keys", "create", "other", "--scope", "run", "--tenant", "acme")
    with httpx.Client(base_url=made.url, timeout=30, headers=bearer(other["key"])) as http:
        _until(lambda: http.post(RUN, json={"text": "hi"}).status_code == 200, 5)
        _until(lambda: http.get("/v1/tasks").status_code == 200, 5)
        operator.run("keys", "revoke", other["id"])

        _until(lambda: http.post(RUN, json={"text": "hi"}).status_code == 401, 5)
        _until(lambda: http.get("/v1/tasks").status_code == 401, 5)


def test_keys_are_checked_while_the_ledger_stands_still(running: tuple[House, str]) -> None:
    made, key = running
    (ledger,) = [process for process in made.processes() if command(process)[:1] == ["ray::Ledger"]]
    with httpx.Client(base_url=made.url, timeout=30) as http:
        ledger.suspend()
        try:
            ends = time.monotonic() + 5
            while time.monotonic() < ends:
                assert http.post(RUN, json={"text": "hi"}, headers=bearer(key)).status_code == 200
                assert http.post(RUN, json={"text": "hi"}, headers=bearer("rbt_wrong")).status_code == 401
                time.sleep(0.1)
        finally:
            ledger.resume()
        assert http.get("/v1/tasks", headers=bearer(key)).status_code == 200


def test_a_word_is_no_key_and_nothing_is_started(tmp_path: Path) -> None:
    with house(tmp_path, RUBATO_ADMIN_KEY="hunter2") as made:
        ended = made.up()

        assert ended.returncode == 1
        assert "openssl" in ended.stderr
        assert "hunter2" not in ended.stderr
        assert made.processes() == []


def _until(met: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < ends
        time.sleep(0.05)
