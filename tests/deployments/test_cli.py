"""The commands that ask a running Rubato, against a real HTTP server."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cluster.tasklog import LogLine
from deployments.cli.app import main
from deployments.cli.inputs import moment
from deployments.cli.show import show_problem
from deployments.ingress import free_ports
from tests.deployments.whole import Whole, whole

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.rstrip("\n").split("\n")]


def started(*arguments: str, stderr: int) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-P", "-m", "deployments.cli", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=env, text=True)


def on_a_terminal(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, and what a terminal that is stderr was sent."""
    terminal, end = os.openpty()
    with started(*arguments, stderr=end) as process:
        os.close(end)
        out, _ = process.communicate(timeout=30)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: everything has been read
        while piece := os.read(terminal, 65536):
            shown += piece
    os.close(terminal)
    return process.returncode, out, shown.decode()


Rubato = Callable[..., Ended]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("whole")) as running:
        yield running


@pytest.fixture
def rubato(running: Whole, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Rubato:
    """Runs a command against the Rubato that runs."""
    monkeypatch.setenv("RUBATO_URL", running.url)

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_run_prints_the_output_and_nothing_else_on_stdout(rubato: Rubato) -> None:
    ended = rubato("run", "parrot", '{"text": "good day"}')

    assert (ended.code, ended.json) == (0, {"text": "GOOD DAY"})


def test_a_text_may_hold_what_python_takes_for_the_end_of_a_line(running: Whole, rubato: Rubato) -> None:
    text = "one\u2028two\u0085three"

    shown = on_a_terminal("run", "parrot", json.dumps({"text": text}), "--url", running.url)
    id = rubato("submit", "parrot", json.dumps({"text": text}), "--json").json["id"]

    assert json.loads(shown[1]) == {"text": text.upper()}
    assert rubato("watch", id, "--json").lines[-1]["data"]["output"] == {"text": text.upper()}


def test_an_input_may_be_a_file_or_stdin(rubato: Rubato, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"text": "from a file"}')

    assert rubato("run", "parrot", f"@{file}").json == {"text": "FROM A FILE"}

    with file.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert rubato("run", "parrot", "-", "--json").out == '{"text": "FROM A FILE"}\n'


def test_what_is_not_json_is_wrong_usage_and_never_sent(rubato: Rubato) -> None:
    ended = rubato("run", "parrot", "{text: 1}")

    assert (ended.code, ended.out) == (2, "")
    assert "INPUT is not JSON" in ended.err
    assert "quote it" in ended.err


@pytest.mark.parametrize("arguments", [("run", "parrot", "@/no/such/file"), ("submit", "parrot", "1", "2")])
def test_what_cannot_be_used_is_wrong_usage(rubato: Rubato, arguments: tuple[str, ...]) -> None:
    assert rubato(*arguments).code == 2


def test_a_problem_document_is_told_as_title_detail_and_errors(rubato: Rubato) -> None:
    ended = rubato("run", "parrot", '{"txt": "hello"}')

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == "The input does not fit the agent"
    assert "  - text: Field required" in ended.err
    assert "Traceback" not in ended.err


def test_the_cause_of_an_error_is_told_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_problem({"title": "The deadline passed", "cause": {"title": "ValueError", "detail": "no", "step": "ask#0"}})

    assert capsys.readouterr().err.splitlines() == ["The deadline passed", "ValueError", "no (step ask#0)"]


def test_an_unknown_agent_is_told(rubato: Rubato) -> None:
    ended = rubato("submit", "carrot", "{}")

    assert ended.code == 1
    assert "parrot" in ended.err


def test_submit_prints_the_id_and_tasks_lists_it(rubato: Rubato) -> None:
    id = rubato("submit", "parrot", '{"text": "hello"}', "--tag", "mine", "--priority", "3").out.strip()

    (task,) = rubato("tasks", "--tag", "mine", "--json").json["items"]
    listed = rubato("tasks", "--tag", "mine").out

    assert (task["id"], task["agent"], task["priority"]) == (id, "parrot", 3)
    assert id in listed.splitlines()[1]


def test_the_options_of_submit_reach_the_task(rubato: Rubato) -> None:
    options = ("--run-at", "2090-01-01T01:00:00+01:00", "--deadline", "2091-01-01T00:00Z", "--timeout", "1.5")
    more = ("--max-attempts", "7", "--limit-key", "acme", "--key", "cli-1", "--tag", "options", "--session", "s 1")
    market = ("--market", "on_demand")

    ids = {rubato("submit", "parrot", '{"text": "hello"}', *options, *more, *market).out.strip() for _ in range(2)}

    (task,) = rubato("tasks", "--tag", "options", "--session", "s 1", "--json").json["items"]
    assert ids == {task["id"]}
    assert (task["run_at"], task["deadline"]) == ("2090-01-01T00:00:00.000Z", "2091-01-01T00:00:00.000Z")
    assert (task["limit_key"], task["session"]) == ("acme", "s 1")
    assert rubato("tasks", "--session", "s", "--json").json["items"] == []


def test_a_market_that_is_none_is_refused_with_the_nearest(rubato: Rubato) -> None:
    ended = rubato("submit", "parrot", '{"text": "hello"}', "--market", "spto")

    assert ended.code == 1
    assert "options.market: must be one of any, spot, on_demand; did you mean 'spot'?" in ended.err


def test_a_moment_may_be_local_or_from_now() -> None:
    local = datetime(2090, 1, 31, 8, 0).astimezone(UTC)
    ahead = datetime.fromisoformat(moment("+2h")) - datetime.now(UTC)

    assert datetime.fromisoformat(moment("2090-01-31T08:00")) == local
    assert timedelta(hours=2) - timedelta(seconds=5) < ahead <= timedelta(hours=2)


@pytest.mark.parametrize("argument", ["soon", "+10", "+m", "10m", "+1y", "+999999999d", "2090-02-30T00:00", ""])
def test_what_is_no_moment_is_wrong_usage(rubato: Rubato, argument: str) -> None:
    ended = rubato("submit", "parrot", '{"text": "hello"}', "--deadline", argument)

    assert ended.code == 2
    assert "is no moment" in ended.err


def test_an_option_out_of_range_is_told_by_name(rubato: Rubato) -> None:
    ended = rubato("submit", "parrot", '{"text": "hello"}', "--timeout", "-1", "--limit-key", "agent:parrot")

    assert ended.code == 1
    assert "options.timeout: " in ended.err
    assert "options.limit_key: " in ended.err


def test_submit_and_wait_prints_the_output(rubato: Rubato) -> None:
    ended = rubato("submit", "parrot", '{"text": "hello"}', "--wait")

    assert (ended.code, ended.json) == (0, {"text": "HELLO"})


def test_a_task_that_fails_makes_submit_and_wait_fail_with_the_reason(rubato: Rubato) -> None:
    ended = rubato("submit", "parrot", '{"text": "fail"}', "--wait")

    assert (ended.code, ended.out) == (1, "")
    assert "it has no answer to that" in ended.err


def test_each_file_becomes_a_task_of_one_batch_and_its_output_is_printed_in_order(
    rubato: Rubato, tmp_path: Path
) -> None:
    files = [tmp_path / "a.txt", tmp_path / "b.pdf"]
    for size, file in enumerate(files, start=1):
        file.write_bytes(b"x" * size)

    found = rubato("submit", "counter", "--each", *map(str, files), "--wait", "--json").lines

    assert [line["task"]["output"] for line in found] == [
        {"name": "a.txt", "media_type": "text/plain", "bytes": 1},
        {"name": "b.pdf", "media_type": "application/pdf", "bytes": 2},
    ]
    assert [line["file"] for line in found] == list(map(str, files))
    assert len({line["task"]["batch_id"] for line in found}) == 1


def test_one_bad_file_fails_the_command_and_not_the_others(rubato: Rubato, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("x")
    bad.write_text("")

    ended = rubato("submit", "counter", str(bad), str(good), "--each", "--wait")

    assert ended.code == 1
    assert '"bytes": 1' in ended.out
    assert "the file is empty" in ended.err


def test_a_missing_file_is_named_and_nothing_is_submitted(rubato: Rubato, tmp_path: Path) -> None:
    before = len(rubato("tasks", "--json", "--limit", "200").json["items"])

    ended = rubato("submit", "counter", "--each", str(tmp_path / "none.txt"))

    assert ended.code == 2
    assert "none.txt" in ended.err
    assert len(rubato("tasks", "--json", "--limit", "200").json["items"]) == before


def test_each_needs_an_agent_with_one_artifact_field(rubato: Rubato, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")

    ended = rubato("submit", "parrot", "--each", str(tmp_path / "a.txt"))

    assert ended.code == 2
    assert "only Artifact field" in ended.err


def test_watch_follows_a_task_to_its_output(rubato: Rubato) -> None:
    id = rubato("submit", "parrot", '{"text": "one two"}').out.strip()

    types = [event["type"] for event in rubato("watch", id, "--json").lines]
    shown = rubato("watch", id)

    assert types == ["attempt.started", "text.delta", "text.delta", "step.completed", "output"]
    assert shown.json == {"text": "ONE TWO"}
    assert "one two" in shown.err


def test_watch_of_a_failed_task_fails(rubato: Rubato) -> None:
    id = rubato("submit", "parrot", '{"text": "fail"}').out.strip()

    ended = rubato("watch", id)

    assert ended.code == 1
    assert "it has no answer to that" in ended.err


def test_cancel_ends_a_running_task(rubato: Rubato) -> None:
    id = rubato("submit", "parrot", '{"text": "wait"}').out.strip()

    assert rubato("cancel", id).code == 0
    assert rubato("watch", id).code == 1
    assert rubato("tasks", "--in", "canceled", "--json").json["items"][0]["id"] == id


def test_watch_says_first_why_a_task_does_not_run(running: Whole, rubato: Rubato) -> None:
    id = rubato("submit", "parrot", '{"text": "hello"}', "--run-at", "+1h").out.strip()

    with started("watch", id, "--url", running.url, stderr=subprocess.PIPE) as watching:
        assert watching.stderr is not None
        first = watching.stderr.readline()
        assert rubato("cancel", id).code == 0

    assert first.startswith("queued: starts at ")
    assert watching.returncode == 1


def test_retry_queues_a_failed_task_again_and_watch_follows_it_to_its_last_end(rubato: Rubato) -> None:
    id = rubato("submit", "parrot", '{"text": "fail"}').out.strip()
    rubato("watch", id)

    told = rubato("retry", id)
    watched = rubato("watch", id, "--json")
    again = rubato("retry", id, "--json")

    assert told.code == 0
    assert f"{id} is queued" in told.err
    assert [event["type"] for event in watched.lines] == ["attempt.started", "failed"] * 2
    assert watched.code == 1
    assert (again.json["id"], again.json["state"]) == (id, "queued")


def test_logs_prints_what_the_code_of_a_task_said(rubato: Rubato, running: Whole) -> None:
    id = rubato("submit", "parrot", '{"text": "hello"}').out.strip()
    running.said[id] = [LogLine(1_700_000_000.5, id, "", 1, "WARNING", "shop", "no stock left")]

    assert rubato("logs", id).out.rstrip().endswith("WARNING shop: no stock left")
    assert rubato("logs", id, "--json").lines[0]["message"] == "no stock left"


@pytest.mark.parametrize("command", ["watch", "logs", "cancel", "retry"])
def test_an_unknown_task_is_told(rubato: Rubato, command: str) -> None:
    ended = rubato(command, "01a20634-ddd4-7257-a86f-05b6d322b39f")

    assert ended.code == 1
    assert "There is no such task" in ended.err


def test_on_a_terminal_events_are_shown_as_they_come(running: Whole) -> None:
    code, out, shown = on_a_terminal("run", "parrot", '{"text": "one two"}', "--url", running.url)

    assert (code, json.loads(out)) == (0, {"text": "ONE TWO"})
    assert "one two" in shown
    assert "upper" in shown


def test_on_a_terminal_a_bar_shows_how_many_have_ended(running: Whole, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")

    code, out, shown = on_a_terminal(
        "submit", "counter", "--each", str(tmp_path / "a.txt"), "--wait", "--url", running.url
    )

    assert code == 0
    assert '"bytes": 1' in out
    assert "1/1" in shown


def test_where_nothing_answers_up_is_named(rubato: Rubato) -> None:
    (port,) = free_ports(1)

    ended = rubato("run", "parrot", "{}", "--url", f"http://127.0.0.1:{port}")

    assert ended.code == 1
    assert "./rubato up" in ended.err


def test_without_a_state_folder_up_is_named(rubato: Rubato, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUBATO_URL")

    ended = rubato("tasks", "--state", str(tmp_path / "none"))

    assert ended.code == 1
    assert "./rubato up" in ended.err
    assert not (tmp_path / "none").exists()


def test_commands_load_neither_ray_nor_models_before_they_need_them() -> None:
    slow = "{'ray', 'pydantic', 'httpx', 'rich', 'numpy'}"
    code = f"import sys, deployments.cli.app; print(sorted({slow} & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"
