"""Importing the module that holds an agent, and why it did not load."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from .errors import NotLoadable

OURS = Path(__file__).resolve().parent
SDK = (
    "if it needs the OpenAI Agents SDK, which imports as `agents` just as Rubato does: the two cannot be in one "
    "process, so call the SDK from a program of its own"
)


def loaded(reference: str, module_name: str) -> ModuleType:
    """The module. Raises NotLoadable with the reason."""
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise NotLoadable(reference, _reason(error, module_name)) from error


def _reason(error: BaseException, module_name: str) -> str:
    asked = _asked_of_ours(error)
    if asked is not None:
        return _not_ours(asked, module_name)
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
        return f"there is no module {error.name} on PYTHONPATH"
    if isinstance(error, SystemExit):
        return f"importing {module_name} ended the process{_place(error)}; keep what runs under __name__ == '__main__'"
    return f"importing {module_name} failed: {type(error).__name__}: {error}{_place(error)}"


def _asked_of_ours(error: BaseException) -> str | None:
    """What a module asked our `agents` for, such as agents.Runner, and did not get."""
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        owner, asked = error.obj.__name__, f"{error.obj.__name__}.{error.name}"
    elif isinstance(error, ModuleNotFoundError):
        owner = asked = error.name or ""
    elif isinstance(error, ImportError):
        name = re.match(r"cannot import name '(\w+)'", error.msg)
        owner, asked = error.name or "", f"{error.name}.{name[1]}" if name else error.name or ""
    else:
        return None
    return asked if owner.partition(".")[0] == "agents" else None


def _not_ours(asked: str, module_name: str) -> str:
    hidden = _hidden()
    known = get_close_matches(asked.removeprefix("agents."), sys.modules["agents"].__all__, n=1, cutoff=0.75)
    told = f"there is no {asked} in Rubato's `agents`, which is the package of that name that loads"
    told += f" (it hides {hidden})" if hidden else ""
    told += f"; did you mean {known[0]}?" if known else "; a package of your own needs another name"
    return told if f"{module_name}.".startswith(f"{asked}.") else f"{told}; {SDK}"


def _hidden() -> Path | None:
    """Another `agents` on the path, which ours keeps from loading."""
    places = (Path(entry or ".", name).absolute() for entry in sys.path for name in ("agents", "agents.py"))
    return next((place for place in places if _importable(place) and place.resolve() != OURS), None)


def _importable(place: Path) -> bool:
    return place.is_file() or any(place.glob("*.py"))


def _place(error: BaseException) -> str:
    """The line of a module that raised it, the innermost if one imported another."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
