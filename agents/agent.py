"""An agent: a typed coroutine with a name and two tempos."""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from . import values
from .context import Context
from .errors import InvalidInput, InvalidOutput
from .policies import Background, Realtime

In = TypeVar("In")
Out = TypeVar("Out")

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
MOST_PROBLEMS = 49  # told at once; one more line counts the rest
LONGEST_PLACE = 80  # characters of a field's name as it was sent


class Agent(Generic[In, Out]):
    """Subclass with the input and output types, a `name`, and `run`.

    `realtime = None` makes it background-only, `background = None` real-time only. `version` tells one state of
    the code from another; by default it is a digest of the agent's module.
    """

    name: ClassVar[str]
    version: ClassVar[str] = ""
    realtime: ClassVar[Realtime | None] = Realtime()
    background: ClassVar[Background | None] = Background()

    def setup(self) -> None:
        """Load what every run needs; called once per replica or worker, before it takes work."""

    async def warmup(self, ctx: Context, /) -> None:
        """Optional: what else a replica does before it takes traffic, in the loop and the context of a run; nobody sees
        what it records and emits. One that fails, or takes too long, keeps the replica from starting."""

    async def run(self, ctx: Context, input: In, /) -> Out:
        """One run from the top; after a crash it starts again, and its recorded steps return at once."""
        raise NotImplementedError(f"{type(self).__name__} has no run()")

    async def simple(self, ctx: Context, input: In, /) -> Out | None:
        """The answer when there is no time for `run`, within `Realtime.simple_time` seconds; None if there is none.
        Optional: an agent that does not define it has no such answer."""
        return None


def has_simple(agent: type[Agent[Any, Any]]) -> bool:
    """Whether the agent defines `simple`."""
    return agent.simple is not Agent.simple


def input_type(agent: type[Agent[Any, Any]]) -> Any:
    """The `In` of `Agent[In, Out]`. Raises TypeError where the class does not say."""
    return _parameters(cast(Any, agent))[0]


def output_type(agent: type[Agent[Any, Any]]) -> Any:
    """The `Out` of `Agent[In, Out]`. Raises TypeError where the class does not say."""
    return _parameters(cast(Any, agent))[1]


def version_of(agent: type[Agent[Any, Any]]) -> str:
    """The declared version, else a digest of the module that holds the agent."""
    if agent.version:
        return agent.version
    try:
        source = inspect.getsource(sys.modules[agent.__module__])
    except (OSError, TypeError, KeyError):
        source = agent.__qualname__
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def read_input(agent: type[Agent[Any, Any]], body: str | bytes) -> Any:
    """The input that this JSON holds; unknown fields are refused. Raises InvalidInput with every problem."""
    try:
        given = values.adapter(input_type(agent)).validate_json(body, extra="forbid")
        values.refuse_constants(body)
    except ValidationError as error:
        raise InvalidInput(f"this is not an input of agent {agent.name!r}", problems(error)) from None
    except ValueError as error:
        raise InvalidInput(f"this is not an input of agent {agent.name!r}", (f"body: Invalid JSON: {error}",)) from None
    return given


def write_input(agent: type[Agent[Any, Any]], input: Any) -> str:
    """The input as the JSON text that `read_input` reads. Raises InvalidInput where it does not fit."""
    try:
        text = values.adapter(input_type(agent)).dump_json(input, warnings=False, by_alias=True, round_trip=True)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        detail = f"a {type(input).__name__} has no JSON form: {values.brief(error)}"
        raise InvalidInput(f"this is not an input of agent {agent.name!r}", (detail,)) from None
    read_input(agent, text)
    return text.decode()


def write_output(agent: type[Agent[Any, Any]], output: Any) -> str:
    """The output as JSON text, as its schema has it. Raises InvalidOutput where it is not of the declared type."""
    kind = output_type(agent)
    try:
        return values.publish(kind, output)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        detail = "; ".join(problems(error)) if isinstance(error, ValidationError) else str(error)
        raise InvalidOutput(
            f"agent {agent.name!r} returned {type(output).__name__}, which is not a {values.label(kind)}: {detail}"
        ) from None


def problems(error: ValidationError) -> tuple[str, ...]:
    """One line for each thing that does not fit: where, and what is wrong; what was sent is not repeated."""
    found = error.errors(include_url=False, include_input=False)
    more = (f"and {len(found) - MOST_PROBLEMS} more",) if len(found) > MOST_PROBLEMS else ()
    return (*map(_problem, found[:MOST_PROBLEMS]), *more)


def _problem(found: ErrorDetails) -> str:
    where = ".".join(str(part)[:LONGEST_PLACE] for part in found["loc"]) or "body"
    if found["type"] == "union_tag_invalid":  # pydantic's own sentence repeats the tag that was sent
        return f"{where}: {found['ctx']['discriminator']} must be one of {found['ctx']['expected_tags']}"
    return f"{where}: {found['msg']}"


@cache  # keyed by Any: mypy takes a generic class for unhashable
def _parameters(agent: Any) -> tuple[Any, ...]:
    for cls in agent.__mro__:
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Agent:
                args = get_args(base)
                if not any(isinstance(arg, TypeVar) for arg in args):
                    return args
    raise TypeError(f"{agent.__name__} does not say its types: write class {agent.__name__}(Agent[Input, Output])")
