"""Which agents there are: loaded by `module:name`, checked once, with every problem named."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pydantic.json_schema import JsonSchemaMode

from . import values
from .agent import NAME, Agent, input_type, output_type, version_of
from .errors import NotLoadable
from .importing import loaded
from .journal import KEY_LIMIT
from .policies import Background, Realtime


@dataclass(frozen=True, slots=True)
class Entry:
    """One agent of a catalog: where it was loaded from, and its class."""

    reference: str
    agent: type[Agent[Any, Any]]
    version: str

    @property
    def name(self) -> str:
        return self.agent.name


class Catalog(Mapping[str, Entry]):
    """Agents by name."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[str, Entry] = {}
        for entry in entries:
            other = self._entries.setdefault(entry.name, entry)
            if other is not entry:
                raise NotLoadable(entry.reference, f"its name {entry.name!r} is taken by {other.reference}")

    @classmethod
    def load(cls, references: Iterable[str]) -> Catalog:
        """Load them all. Raises NotLoadable, which names the reference and the reason, for the first that fails."""
        return cls([load(reference) for reference in dict.fromkeys(references)])

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def load(reference: str) -> Entry:
    """The agent that `module:name` names. Raises NotLoadable with the reason."""
    module_name, colon, name = reference.partition(":")
    if not (colon and all(part.isidentifier() for part in [*module_name.split("."), name])):
        raise NotLoadable(reference, "an agent is named module:Class, such as shop.support:Support")
    module = loaded(reference, module_name)
    found = getattr(module, name, None)
    if not (inspect.isclass(found) and issubclass(found, Agent)):
        raise NotLoadable(reference, _no_agent(module, name))
    wrong = faults(found)
    if wrong:
        raise NotLoadable(reference, "; ".join(wrong))
    return Entry(reference, found, version_of(found))


def faults(agent: type[Agent[Any, Any]]) -> list[str]:
    """Everything that keeps this class from being served, each in a sentence; none if it is sound."""
    wrong = []
    name = getattr(agent, "name", None)
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        wrong.append(f"name {name!r} must match {NAME.pattern}")
    if not (isinstance(agent.version, str) and len(agent.version.encode("utf-8", "replace")) <= KEY_LIMIT):
        wrong.append(f"version must be text of at most {KEY_LIMIT} bytes")
    if agent.realtime is None and agent.background is None:
        wrong.append("it has neither a realtime nor a background policy")
    if not isinstance(agent.realtime, Realtime | None) or not isinstance(agent.background, Background | None):
        wrong.append("realtime must be a Realtime and background a Background, or None")
    return wrong + _faults_of_methods(agent) + _faults_of_types(agent)


def _faults_of_methods(agent: type[Agent[Any, Any]]) -> list[str]:
    wrong = []
    if not _takes(agent, 0):
        wrong.append("it must be made without arguments; put what it needs into setup()")
    if inspect.iscoroutinefunction(agent.setup) or not _takes(agent.setup, 1):
        wrong.append("setup() must be a plain method without parameters")
    if agent.run is Agent.run:
        wrong.append("it has no run()")
    elif inspect.isasyncgenfunction(agent.run):
        wrong.append("run() must return its answer and not yield; ctx.emit tells the listeners on the way")
    elif not inspect.iscoroutinefunction(agent.run):
        wrong.append("run() must be async; put blocking work into ctx.step, which runs plain functions in a thread")
    elif not _takes(agent.run, 3):
        wrong.append("run() must take the context and the input")
    if not inspect.iscoroutinefunction(agent.simple) or not _takes(agent.simple, 3):
        wrong.append("simple() must be async and take the context and the input")
    if not inspect.iscoroutinefunction(agent.warmup) or not _takes(agent.warmup, 2):
        wrong.append("warmup() must be async and take the context")
    return wrong


def _faults_of_types(agent: type[Agent[Any, Any]]) -> list[str]:
    try:
        kinds = input_type(agent), output_type(agent)
    except TypeError as error:
        return [str(error)]
    modes: tuple[JsonSchemaMode, JsonSchemaMode] = ("validation", "serialization")
    wrong = []
    for kind, mode in zip(kinds, modes, strict=True):
        try:
            values.adapter(kind).json_schema(mode=mode)
        except Exception as error:  # noqa: BLE001 - pydantic raises many kinds for types that have no schema
            wrong.append(f"its type {values.label(kind)} has no JSON Schema: {values.brief(error)}")
    return wrong


def _takes(fn: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with this many arguments."""
    try:
        inspect.signature(fn).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # its signature is not known
        return True
    return True


def _no_agent(module: ModuleType, name: str) -> str:
    if hasattr(module, name):
        return f"{name} in module {module.__name__} is not a class derived from agents.Agent"
    own = [key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, Agent)]
    others = [key for key in own if vars(module)[key] is not Agent]
    return f"module {module.__name__} has no agent class {name}" + (f"; it has {', '.join(others)}" if others else "")
