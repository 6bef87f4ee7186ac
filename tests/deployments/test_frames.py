"""Frames of a session, and what becomes of an input while another is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.policies import OnMessage
from cluster.task import Event
from deployments.frames import WAITING, BadFrame, Cancel, Input, Move, decide, failed, opened, read, told
from deployments.problems import Problem


@pytest.mark.parametrize(
    ("policy", "waiting", "move"),
    [
        ("enqueue", 0, Move.WAIT),
        ("enqueue", WAITING - 1, Move.WAIT),
        ("enqueue", WAITING, Move.FULL),
        ("interrupt", 0, Move.INTERRUPT),
        ("interrupt", 1, Move.INTERRUPT),
        ("reject", 0, Move.REJECT),
    ],
)
def test_what_becomes_of_an_input_while_a_turn_runs(policy: OnMessage, waiting: int, move: Move) -> None:
    assert decide(policy, waiting) is move


def test_an_input_goes_in_as_it_was_written() -> None:
    frame = read('{"type": "input", "id": "1", "input": {"n": 1.10, "big": 123456789012345678901234567890}}')

    assert frame == Input("1", '{"n": 1.10, "big": 123456789012345678901234567890}')
    assert read('{"id":"1","type":"cancel"}') == Cancel("1")
    assert read('{"id":"1","type":"input","input":null}') == Input("1", "null")


@pytest.mark.parametrize(
    ("text", "id", "says"),
    [
        ("", None, "This is not JSON"),
        ("hello", None, "This is not JSON"),
        ("[" * 100_000, None, "This is not JSON"),
        ('{"type":"input","id":"1","input":NaN}', None, "This is not JSON"),
        ('{"type":"input","id":"1","input":"\\u0000"}', None, "NUL"),
        ('{"type":"input","id":"1","input":"\ud800"}', None, "lone surrogate"),
        ("[]", None, "must be an object"),
        ("null", None, "must be an object"),
        ("{}", None, "`id` must be a text"),
        ('{"type":"input","id":7,"input":1}', None, "`id` must be a text"),
        ('{"type":"input","id":"","input":1}', None, "`id` must be a text"),
        (json.dumps({"type": "input", "id": "x" * 256, "input": 1}), None, "`id` must be a text"),
        ('{"id":"1"}', "1", "`type` must be"),
        ('{"type":"output","id":"1"}', "1", "`type` must be"),
        ('{"type":["input"],"id":"1"}', "1", "`type` must be"),
        ('{"type":"input","id":"1"}', "1", "`input` is missing"),
        ('{"type":"input","id":"1","input":1,"wait":2}', "1", "no field 'wait'"),
        ('{"type":"cancel","id":"1","input":1}', "1", "no field 'input'"),
    ],
)
def test_what_is_no_frame_is_told_with_its_id_if_it_has_one(text: str, id: str | None, says: str) -> None:
    with pytest.raises(BadFrame) as bad:
        read(text)

    assert bad.value.id == id
    assert bad.value.problem.status == 400
    assert says in f"{bad.value.problem.title} {bad.value.problem.detail}"


def _event(type: str, data: Any, step: str | None = None) -> Event:
    return Event(3, type, 1_700_000_000.0, 1, step, json.dumps(data, separators=(",", ":")))


def test_frames_that_go_out_are_json() -> None:
    progress = json.loads(told('"', _event("progress", {"message": "hi"}, "draft#0")))
    output = json.loads(told("1", _event("output", {"output": {"a": 1}, "answer": "simple"})))
    error = json.loads(told("1", _event("failed", {"error": {"status": 500, "step": None}})))

    assert (progress["type"], progress["id"], progress["event"]["type"]) == ("event", '"', "progress")
    assert (progress["event"]["step"], progress["event"]["data"]) == ("draft#0", {"message": "hi"})
    assert output == {"type": "output", "id": "1", "output": {"a": 1}, "answer": "simple"}
    assert error == {"type": "error", "id": "1", "error": {"status": 500, "step": None}}
    assert json.loads(opened('ü"')) == {"type": "session", "session": 'ü"'}
    assert json.loads(failed(None, Problem(400, "t", "d")))["id"] is None
