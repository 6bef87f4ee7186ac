"""That documents say what the records hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cluster import waits
from cluster.task import Event, Step
from cluster.tasklog import LogLine
from cluster.waits import Waits
from deployments.documents import list_json, log_json, moment, step_json, task_json
from deployments.events import event_json
from tests.cluster.making import task


def test_stored_json_goes_in_as_it_is() -> None:
    text = task_json(task(input='{"n": 1.10}', output="[1 ]", error='{"type":"E"}', tags='["a"]'))

    assert '"input":{"n": 1.10},"output":[1 ],"error":{"type":"E"}' in text
    assert json.loads(text)["tags"] == ["a"]


def test_what_has_not_happened_is_null() -> None:
    shown = json.loads(task_json(task()))

    names = ["output", "error", "started_at", "ended_at", "run_at", "deadline", "cancel_requested_at"]
    names += ["waiting_on", "parent_id", "batch_id"]
    assert [shown[name] for name in names] == [None] * len(names)


def test_what_a_task_waits_for_has_its_moment_as_all_have() -> None:
    stored = waits.write(Waits(1_893_456_000.25, ("go",), (("map", 2), ("call", 1))))
    shown = {"until": "2030-01-01T00:00:00.250Z", "signals": ["go"], "children": 3}

    waiting = json.loads(task_json(task(state="waiting", waiting_on=stored, run_at=1_893_456_000.25)))
    event = json.loads(event_json(Event(4, "waiting", 0.0, 1, None, stored)))

    assert (waiting["waiting_on"], waiting["run_at"]) == (shown, None)
    assert event["data"] == shown


def test_texts_are_quoted() -> None:
    assert json.loads(task_json(task(version='a"\n\ud800')))["version"] == 'a"\n\ud800'
    assert json.loads(step_json(Step('a"', ':"', "d", "1", 0, 1, 0.0)))["key"] == ':"'
    assert json.loads(log_json(LogLine(0.0, "i", "", 1, "INFO", "a", 'x"\n')))["message"] == 'x"\n'


def test_moments_are_rfc_3339_in_utc() -> None:
    assert moment(1_893_456_000.25) == "2030-01-01T00:00:00.250Z"
    assert moment(1_893_456_000.999_999_9) == "2030-01-01T00:00:01.000Z"


@pytest.mark.parametrize("at", [0.0, -1.5, 1_700_000_000.123, 1_700_000_000.000_999, 192_915_124_955.779])
def test_a_moment_says_its_milliseconds_and_not_those_beside_them(at: float) -> None:
    assert moment(at) == datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_list_names_its_next_page() -> None:
    assert list_json(["1", "2"], "abc") == '{"items":[1,2],"next_cursor":"abc"}'
    assert list_json([]) == '{"items":[],"next_cursor":null}'
