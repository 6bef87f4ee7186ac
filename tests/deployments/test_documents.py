"""That documents say what the records hold."""

from __future__ import annotations

import json

from cluster.task import Step
from cluster.tasklog import LogLine
from deployments.documents import list_json, log_json, moment, step_json, task_json
from tests.cluster.making import task


def test_stored_json_goes_in_as_it_is() -> None:
    text = task_json(task(input='{"n": 1.10}', output="[1 ]", error='{"type":"E"}', tags='["a"]'))

    assert '"input":{"n": 1.10},"output":[1 ],"error":{"type":"E"}' in text
    assert json.loads(text)["tags"] == ["a"]


def test_what_has_not_happened_is_null() -> None:
    shown = json.loads(task_json(task()))

    names = ["output", "error", "started_at", "ended_at", "run_at", "cancel_requested_at", "batch_id"]
    assert [shown[name] for name in names] == [None] * len(names)


def test_texts_are_quoted() -> None:
    assert json.loads(task_json(task(version='a"\n\ud800')))["version"] == 'a"\n\ud800'
    assert json.loads(step_json(Step('a"', ':"', "d", "1", 0, 1, 0.0)))["key"] == ':"'
    assert json.loads(log_json(LogLine(0.0, "i", "", 1, "INFO", "a", 'x"\n')))["message"] == 'x"\n'


def test_moments_are_rfc_3339_in_utc() -> None:
    assert moment(1_893_456_000.25) == "2030-01-01T00:00:00.250Z"


def test_a_list_names_its_next_page() -> None:
    assert list_json(["1", "2"], "abc") == '{"items":[1,2],"next_cursor":"abc"}'
    assert list_json([]) == '{"items":[],"next_cursor":null}'
