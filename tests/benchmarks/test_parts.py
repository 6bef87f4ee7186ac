"""What the benchmark is put together from and needs no cluster."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import load, raw, singly
from benchmarks.connection import Connection, request
from benchmarks.until import until, until_completed
from cluster.sqlite import SqliteStore
from cluster.store import Writes
from cluster.task import Task

COMPLETED = {"state": "completed", "attempts": 1, "fence": 1, "ended_at": 2.0, "output": '{"text":"x"}', "events": 2}


@contextmanager
def serving(status: int, body: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each request this answer: its URL, and the bodies it was sent."""
    sent: list[bytes] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()


@pytest.fixture(params=["wrk", "asyncio"])
def generator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    if name == "asyncio":
        monkeypatch.setattr(shutil, "which", lambda _: None)
    elif not shutil.which("wrk"):
        pytest.skip("wrk is not on PATH")
    return name


@pytest.mark.slow
def test_exactly_as_many_tasks_are_sent_as_are_asked_for(generator: str) -> None:
    with serving(202, b"{}") as (url, sent):
        sender = singly._by_wrk if generator == "wrk" else singly._by_us

        accepted = sender(f"{url}/v1/tasks", '{"agent":"echo"}', 200)

    assert accepted == len(sent) == 200
    assert set(sent) == {b'{"agent":"echo"}'}


@pytest.mark.slow
def test_a_task_that_is_refused_is_no_figure(generator: str) -> None:
    with serving(429, b"{}") as (url, _), pytest.raises(RuntimeError, match="0 accepted"):
        singly.measure(url, 32)


@pytest.mark.slow
def test_a_load_that_is_refused_is_no_figure(generator: str) -> None:
    with serving(200, b"{}") as (url, _):
        assert load.post(f"{url}/run", "{}", connections=2, seconds=1)["requests_per_s"] > 0
    with serving(500, b"{}") as (url, _), pytest.raises(RuntimeError, match="requests failed"):
        load.post(f"{url}/run", "{}", connections=2, seconds=1)


@pytest.mark.slow
def test_a_connection_is_kept_and_a_large_answer_is_whole() -> None:
    body = b'{"items":[' + b"1," * 300_000 + b"1]}"
    with serving(200, body) as (url, sent), Connection(url) as connection:
        answers = [connection.send(request("POST", f"{url}/x", "hello")) for _ in range(3)]

        assert answers == [(200, body)] * 3
        assert sent == [b"hello"] * 3


def test_a_wait_ends() -> None:
    with pytest.raises(RuntimeError, match="the moon is full"):
        until(lambda: False, "the moon is full", seconds=0.01, poll=0.001)


def test_tasks_that_failed_are_not_taken_for_completed() -> None:
    class Failed(Connection):
        def __init__(self) -> None:
            pass

        def none(self, **filters: str) -> bool:
            return filters["state"] != "failed"

    with pytest.raises(RuntimeError, match="failed"):
        until_completed(Failed(), agent="echo")


async def test_sqlite_alone_writes_the_rows_that_the_ledger_wrote(tmp_path: Path) -> None:
    fixed = ("echo", "v", '{"text":"x"}', 0, "[]", None, 3, 60.0, 1.0)
    tasks = [Task("", f"id-{number}", *fixed)._replace(**COMPLETED) for number in range(10)]  # type: ignore[arg-type]
    owner = SqliteStore(tmp_path / "ledger.db").take(create=True)
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open(owner.store_id, owner.generation)
    await store.commit(Writes(new={task.ref: task for task in tasks}))
    await store.close()

    written = raw.read(tmp_path / "ledger.db", "echo", 10)
    found = raw.measure(tmp_path, written, 2.6)

    assert raw.read(tmp_path / "raw.db", "echo", 10).tasks == tuple(tasks)
    assert (found["tasks_per_commit"], found["commits"]) == (3, 6)
    with pytest.raises(RuntimeError, match="only 10"):
        raw.read(tmp_path / "ledger.db", "echo", 11)
