"""One event of a run or a task, as JSON and as it goes over a stream."""

from __future__ import annotations

import json

from cluster.task import Event

from . import sse
from .documents import moment, waits_json


def event_json(event: Event) -> str:
    """`{seq, type, at, attempt, step?, data}`."""
    step = "" if event.step is None else f'"step":{json.dumps(event.step)},'
    data = waits_json(event.data) if event.type == "waiting" else event.data
    head = f'"seq":{event.seq},"type":{json.dumps(event.type)},"at":"{moment(event.at)}","attempt":{event.attempt}'
    return f'{{{head},{step}"data":{data}}}'


def event_bytes(event: Event) -> bytes:
    """The event on an event stream; its number is what a client sends back as Last-Event-ID."""
    return sse.encode(event.type, event_json(event), event.seq)
