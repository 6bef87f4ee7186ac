"""What a task's code says is found again, and nothing else is."""

from __future__ import annotations

import asyncio
import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from agents import Context
from cluster.logfile import LogFile, prune
from cluster.tasklog import MESSAGE_LIMIT, TaskLog, bounded, read, speaking

from .links import MemoryLink
from .workers import Given, working


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def messages(folder: Path, task_id: str, tenant: str = "") -> list[str]:
    return [line.message for line in read(folder, tenant, task_id)]


def test_logging_and_printing_go_to_the_task_that_speaks(tmp_path: Path) -> None:
    with TaskLog(tmp_path, "w1"):
        with speaking("acme", "t1", 2):
            logging.getLogger("shop").info("counted %d", 3)
            say("printed")
            sys.stderr.write("warned\n")
        with speaking("acme", "t2", 1):
            say("other")

    lines = read(tmp_path, "acme", "t1")
    assert [(line.level, line.logger, line.message, line.attempt) for line in lines] == [
        ("INFO", "shop", "counted 3", 2),
        ("INFO", "stdout", "printed", 2),
        ("WARNING", "stderr", "warned", 2),
    ]
    assert messages(tmp_path, "t2", "acme") == ["other"]
    assert read(tmp_path, "", "t1") == []


def test_what_is_said_outside_of_tasks_goes_where_it_went_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with TaskLog(tmp_path, "w1"):
        say("printed")
        logging.getLogger("shop").warning("careful")
        logging.getLogger("shop").info("by the way")

    assert out.getvalue() == "printed\n"
    assert err.getvalue() == "careful\n"
    assert (tmp_path / "w1.jsonl").read_bytes() == b""
    assert (sys.stdout, sys.stderr) == (out, err)


def test_a_line_in_pieces_is_one_line_and_its_rest_is_kept_at_the_end(tmp_path: Path) -> None:
    with TaskLog(tmp_path, "w1"), speaking("", "t1", 1):
        sys.stdout.write("a")
        sys.stdout.write("b\nc\n\nd")

    assert messages(tmp_path, "t1") == ["ab", "c", "d"]


def test_a_message_is_bounded_and_keeps_its_ends(tmp_path: Path) -> None:
    with TaskLog(tmp_path, "w1"), speaking("", "t1", 1):
        say("begin" + "x" * 100_000 + "end")
        for _ in range(100):
            sys.stdout.write("y" * 1000)  # a line that does not end

    first, *pieces = messages(tmp_path, "t1")
    assert first.startswith("begin")
    assert first.endswith("end")
    assert len(first) < MESSAGE_LIMIT + 100
    assert "".join(pieces) == "y" * 100_000
    assert max(map(len, pieces)) == MESSAGE_LIMIT
    assert bounded("short") == "short"


def test_a_traceback_is_kept_and_a_broken_message_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with TaskLog(tmp_path, "w1"), speaking("", "t1", 1):
        logging.getLogger("shop").warning("%d", "three")
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("shop").exception("it failed")
        say("half a letter \ud800")

    failure, half = messages(tmp_path, "t1")
    assert failure.startswith("it failed\nTraceback")
    assert failure.endswith("ValueError: why")
    assert half == "half a letter \ud800"


async def test_each_of_many_runs_and_their_threads_keeps_its_own_log(tmp_path: Path) -> None:
    def in_thread(n: int) -> int:
        say(f"thread of {n}")
        return n

    async def in_task(n: int) -> int:
        await asyncio.sleep(0)
        say(f"task of {n}")
        return n

    async def script(ctx: Context, given: Given) -> int:
        say(f"run of {given.n}")
        await asyncio.gather(ctx.step("thread", in_thread, given.n), ctx.step("task", in_task, given.n))
        return given.n

    link = MemoryLink()
    with TaskLog(tmp_path, "w1"):
        async with working(link, script):
            rows = [link.submit(f'{{"n": {n}}}') for n in range(8)]
            await link.ended(*rows)

    for n, row in enumerate(rows):
        said = messages(tmp_path, row.task.id)
        assert said[0] == f"run of {n}"
        assert sorted(said[1:]) == [f"task of {n}", f"thread of {n}"]


async def test_the_traceback_of_a_failed_attempt_is_in_its_log_and_nowhere_else(tmp_path: Path) -> None:
    async def script(ctx: Context, given: Given) -> int:
        raise ValueError("why")

    link = MemoryLink()
    with TaskLog(tmp_path, "w1"):
        async with working(link, script):
            row = link.submit(max_attempts=1)
            await link.ended(row)

    (said,) = messages(tmp_path, row.task.id)
    assert "Traceback" in said
    assert said.endswith("ValueError: why")
    assert "Traceback" not in (row.verdicts[0].error or "")


def test_the_log_of_a_killed_worker_is_read(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from cluster.tasklog import TaskLog, speaking\n"
        "with TaskLog(Path(sys.argv[1]), 'w1'), speaking('', 't1', 1):\n"
        "    sys.stdout.write('last words\\n'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    with (tmp_path / "w1.jsonl").open("ab") as file:
        file.write(b'{"task_id": "t1", "at": 1.0, "mess')  # as if it had died in the middle of a line

    assert messages(tmp_path, "t1") == ["last words"]


def test_lines_of_several_workers_are_in_the_order_of_time(tmp_path: Path) -> None:
    for word, worker in (("one", "w2"), ("two", "w1"), ("three", "w2")):
        with TaskLog(tmp_path, worker), speaking("", "t1", 1):
            say(word)

    assert messages(tmp_path, "t1") == ["one", "two", "three"]


def test_a_log_file_is_turned_over_and_its_older_half_is_read(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "w1.jsonl", limit=100)
    for number in range(10):
        file.write(b"%03d" % number + b"x" * 26 + b"\n")
    file.close()
    file.write(b"after the end\n")

    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"w1.jsonl": 30, "w1.jsonl.1": 90}
    assert (tmp_path / "w1.jsonl.1").read_bytes().startswith(b"006")


def test_a_folder_of_logs_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    import os

    for age, name in enumerate(["new.jsonl", "old.jsonl", "older.jsonl.1", "not-a-log.txt"]):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))

    prune(tmp_path, limit=15)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.jsonl", "not-a-log.txt"]


def test_a_worker_id_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    with TaskLog(tmp_path / "logs", "../w1"), speaking("", "t1", 1):
        say("here")

    assert messages(tmp_path / "logs", "t1") == ["here"]
    assert list(tmp_path.glob("*.jsonl")) == []
