"""Agents that a run calls: how their inputs are written, and what comes back."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from . import values
from .agent import NAME, Agent, output_type, problems, write_input
from .errors import ChildFailed, InvalidInput, StepError
from .journal import StepId, StepRecord
from .waits import is_error

MOST = 10_000  # inputs of one map
DEPTH = 16  # how deep tasks may call tasks


class Target(NamedTuple):
    """Who is called: `kind` is its output's type, `write` gives an input as JSON, checked where its type is known."""

    name: str
    kind: Any
    write: Callable[[Any], str]


def target(agent: type[Agent[Any, Any]] | str, returns: Any) -> Target:
    """An agent by its class, which types both ways, or by its name. Raises StepError for anything else."""
    if inspect.isclass(agent) and issubclass(agent, Agent):
        return Target(agent.name, output_type(agent) if returns is None else returns, partial(write_input, agent))
    if isinstance(agent, str) and NAME.fullmatch(agent):
        return Target(agent, Any if returns is None else returns, partial(_as_json, agent))
    raise StepError("call", f"needs an agent's class or its name, and was given {agent!r}"[:200])


def several(step: StepId, inputs: Iterable[Any], parallel: int | None) -> list[Any]:
    """The inputs of a map. Raises StepError for too many, and for a `parallel` below 1."""
    found = list(inputs)
    if len(found) > MOST:
        raise StepError(str(step), f"takes at most {MOST} inputs, and was given {len(found)}; map in several steps")
    if parallel is not None and (not isinstance(parallel, int) or parallel < 1):
        raise StepError(str(step), f"parallel must be a whole number from 1 on, and is {parallel!r}")
    return found


def outcome(target: Target, task_id: str, record: StepRecord) -> Any:
    """The output of a child. Raises ChildFailed, or StepError for an output that does not fit."""
    if is_error(record):
        raise ChildFailed(target.name, task_id, json.loads(record.value)["error"])
    return received(record.id, "output", target.kind, record.value)


def received(step: StepId, member: str, kind: Any, text: str) -> Any:
    """The only member of a JSON object, as `kind`. Raises StepError where it does not fit."""
    try:
        return values.receive(dict[str, kind], text)[member]
    except ValidationError as error:
        raise StepError(str(step), f"what came is not a {values.label(kind)}: {'; '.join(problems(error))}") from None


def _as_json(agent: str, input: Any) -> str:
    try:
        return values.encode(Any, input)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        detail = f"a {type(input).__name__} has no JSON form: {values.brief(error)}"
        raise InvalidInput(f"this is not an input of agent {agent!r}", (detail,)) from None


def deeper(step: StepId, depth: int) -> int:
    """The depth of a task that is called at this one. Raises StepError where that is too deep."""
    if depth >= DEPTH:
        raise StepError(str(step), f"calls of calls go at most {DEPTH} deep, and this would be one more")
    return depth + 1
