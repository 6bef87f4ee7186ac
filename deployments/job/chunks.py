"""Where an input is cut into batches: the same places each time it is read, so that each has its Idempotency-Key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..bodies import parse
from ..problems import Refused
from .lines import LINE_BYTES, SPACE, Line

BATCH_BYTES = 4 * 1024 * 1024  # of lines, from which on no further one joins a batch


@dataclass(frozen=True, slots=True)
class Bad:
    """A line of which there will be no task, and what is wrong with it."""

    line: int
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines that are sent together."""

    items: tuple[tuple[int, bytes], ...]  # line and JSON of each that may become a task
    bad: tuple[Bad, ...]

    @property
    def lines(self) -> list[int]:
        return sorted([*(line for line, _ in self.items), *(bad.line for bad in self.bad)])


def chunks(lines: Iterable[Line], size: int) -> Iterator[Chunk]:
    """The lines in chunks of `size`; of fewer where they are long."""
    items: list[tuple[int, bytes]] = []
    bad: list[Bad] = []
    held = 0
    for line in lines:
        wrong = problem_of(line)
        if wrong is None:
            items.append((line.number, line.text.strip(SPACE)))
            held += len(line.text)
        else:
            bad.append(Bad(line.number, wrong))
        if len(items) + len(bad) >= size or held >= BATCH_BYTES:
            yield Chunk(tuple(items), tuple(bad))
            items, bad, held = [], [], 0
    if items or bad:
        yield Chunk(tuple(items), tuple(bad))


def problem_of(line: Line) -> dict[str, Any] | None:
    """Why a line can be no input of any agent: the gateway would refuse all that is sent with it."""
    if line.size > len(line.text):
        return bad_line("too_large", "The line is too long", f"It has {line.size} bytes, and may have {LINE_BYTES}.")
    try:
        parse(line.text)
    except Refused as refused:
        return bad_line("malformed_json", "The line is not JSON that can be kept", refused.problem.detail)
    return None


def bad_line(type: str, title: str, detail: str, errors: Iterable[str] = ()) -> dict[str, Any]:
    """An error of a line, in the shape that tasks have theirs."""
    listed = {"errors": list(errors)} if errors else {}
    return {"type": type, "title": title, "detail": detail, **listed}


def body(agent: str, texts: Iterable[bytes], options: dict[str, Any]) -> bytes:
    """What is posted for these inputs: each is sent as it stands in its line."""
    head = f'{{"agent":{json.dumps(agent)},"options":{json.dumps(options, sort_keys=True)},"inputs":['
    return head.encode() + b",".join(texts) + b"]}"
