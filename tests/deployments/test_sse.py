"""That an event stays one event on the wire."""

from __future__ import annotations

from deployments.sse import BEAT, HEARTBEAT, RETRY, encode


def test_an_event_names_its_number_and_its_type() -> None:
    assert encode("progress", '{"a":1}', 7) == b'id: 7\nevent: progress\ndata: {"a":1}\n\n'
    assert encode("progress", "{}") == b"event: progress\ndata: {}\n\n"


def test_json_on_several_lines_stays_one_event() -> None:
    assert encode("output", '{\n"a":\r\n1}', 0) == b'id: 0\nevent: output\ndata: { "a":  1}\n\n'


def test_comments_are_no_events() -> None:
    assert BEAT.startswith(b":")
    assert BEAT.endswith(b"\n\n")
    assert RETRY.endswith(b"\n\n")
    assert HEARTBEAT < 5
