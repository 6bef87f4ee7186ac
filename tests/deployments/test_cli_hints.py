from __future__ import annotations

import json
import shlex
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from agents import Artifact
from deployments.cli.hints import example, hints


class Colour(StrEnum):
    """One of two."""

    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    """Part of another."""

    many: list[int]
    colour: Colour


class Outer(BaseModel):
    """Of every kind."""

    name: str
    count: int
    share: float | None
    inner: Inner
    spare: str = "not needed"


class Files(BaseModel):
    """Takes a file."""

    file: Artifact


def schema(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


@pytest.mark.parametrize("kind", [Outer, Inner, str, int, list[str], dict[str, int], Colour, str | None])
def test_an_example_fits_its_schema(kind: Any) -> None:
    TypeAdapter(kind).validate_json(json.dumps(example(schema(kind))))


def agent(name: str, input: dict[str, Any], *modes: str) -> dict[str, Any]:
    return {"name": name, "input": input, "modes": list(modes or ("realtime", "background"))}


def test_an_example_survives_the_shell() -> None:
    run, curl, submit = hints("http://here:1", [agent("outer", {**schema(str), "default": "it's"})])

    assert json.loads(shlex.split(run)[3]) == "it's"
    assert shlex.split(curl)[-1] == shlex.split(run)[3]
    assert shlex.split(submit)[1] == "submit"


def test_an_agent_that_takes_a_file_is_tried_with_files() -> None:
    files = agent("files", schema(Files))

    assert "--each" in hints("http://here:1", [files])[0]
    assert "--each" in hints("http://here:1", [agent("text", schema(str)), files])[2]


def test_an_agent_is_only_tried_at_a_tempo_that_it_has() -> None:
    later = hints("http://here:1", [agent("later", schema(str), "background")])
    now = hints("http://here:1", [agent("now", schema(str), "realtime")])

    assert [len(later), len(now)] == [3, 3]
    assert not any(" run " in line or "/run" in line for line in later)
    assert not any("submit" in line for line in now)


def test_where_keys_are_needed_the_request_is_shown_with_the_one_in_the_environment() -> None:
    agents = [agent("outer", schema(str))]
    open, keyed = [hints("http://here:1", agents, keyed=keyed)[1] for keyed in (False, True)]

    assert "Authorization" not in open
    assert shlex.split(keyed)[3:5] == ["-H", "Authorization: Bearer $RUBATO_KEY"]
