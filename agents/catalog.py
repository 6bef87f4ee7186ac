"""Which agents there are: loaded by `module:name`, checked once, with every problem named."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from . import values
from .agent import NAME, Agent, input_type, output_type, version_of
from .errors import NotLoadable
from .policies import Background, Realtime

SDK = (
    "it needs the OpenAI Agents SDK, which imports as `agents` just as Rubato does, and Rubato's is the one on the "
    "path; the two cannot be in one process, so call the SDK from a program of its own"
)


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
    if not (colon and module_name and name.isidentifier()):
        raise NotLoadable(reference, "an agent is named module:Class, such as shop.support:Support")
    found = getattr(_import(reference, module_name), name, None)
    if not (inspect.isclass(found) and issubclass(found, Agent)):
        raise NotLoadable(reference, f"module {module_name} has no agent class {name}")
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
    if agent.realtime is None and agent.background is None:
        wrong.append("it has neither a realtime nor a background policy")
    if not isinstance(agent.realtime, Realtime | None) or not isinstance(agent.background, Background | None):
        wrong.append("realtime must be a Realtime and background a Background, or None")
    if agent.run is Agent.run:
        wrong.append("it has no run()")
    elif not inspect.iscoroutinefunction(agent.run):
        wrong.append("run() must be async; put blocking work into ctx.step, which runs plain functions in a thread")
    try:
        values.adapter(input_type(agent)).json_schema()
        values.adapter(output_type(agent)).json_schema(mode="serialization")
    except Exception as error:  # noqa: BLE001 - pydantic raises many kinds for types that have no schema
        wrong.append(f"its types have no JSON Schema: {error}")
    return wrong


def _import(reference: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise NotLoadable(reference, _reason(error, module_name)) from error


def _reason(error: Exception, module_name: str) -> str:
    if _wants_sdk(error):
        return SDK
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
        return f"there is no module {error.name} on PYTHONPATH"
    return f"importing {module_name} failed: {type(error).__name__}: {error}"


def _wants_sdk(error: Exception) -> bool:
    """Whether a module asked our `agents` for something only the OpenAI SDK's `agents` has."""
    if isinstance(error, AttributeError):
        return isinstance(error.obj, ModuleType) and error.obj.__name__ == "agents"
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "agents"
