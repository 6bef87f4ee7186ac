"""What the operator decides: one frozen record, read once from rubato.toml with RUBATO_* and flags over it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator

from agents import RubatoError
from agents.agent import NAME
from cluster.places import check_place

from .nearest import suggestion
from .pooltable import MIB, PoolTable
from .runtimetable import RuntimeTable
from .tables import Table

# Names of the environment that are not settings: the state folder, the mark on our processes, a far gateway, the key
# that the commands call with, a file that holds it, the operator's key, a server for the tests.
RESERVED = frozenset(
    {
        *("RUBATO_STATE", "RUBATO_CLUSTER", "RUBATO_URL", "RUBATO_KEY", "RUBATO_KEY_FILE", "RUBATO_ADMIN_KEY"),
        "RUBATO_TEST_POSTGRES",
    }
)
AN_HOUR = 1 / 24  # in days

Tables = dict[str, Any]


class SettingsProblem(RubatoError):
    """The settings do not hold; `problems` lists everything that is wrong, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class AgentTable(Table):
    """One agent to serve, as `module:Class`."""

    agent: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class StoreTable(Table):
    """Where the ledger keeps its tasks: the path of a SQLite file, or a postgresql:// URL; '' is `ledger.db` in the
    state folder. With `takeover` "when_ready" a cluster that Ray Serve was told of takes it, once all its applications
    run, from the cluster that has it; else only `up` and `deploy` do so."""

    url: str = ""
    takeover: Literal["never", "when_ready"] = "never"

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        check_place(url)
        return url


class ArtifactsTable(Table):
    """Where artifacts are kept: a folder, or a URL that fsspec knows; '' is `artifacts` in the state folder."""

    url: str = ""


class RetentionTable(Table):
    """How many days what is over is kept; 0 keeps it for ever."""

    ended_after: float = Field(30.0, ge=0, le=36500)  # a task, from its end on
    artifacts_after: float = Field(30.0, ge=0, le=36500)  # an artifact that no task names, from its last upload on
    sessions_after: float = Field(30.0, ge=0, le=36500)  # what a session remembers, from when it was last written

    @field_validator("artifacts_after")
    @classmethod
    def _lasts_until_a_task_names_it(cls, days: float) -> float:
        if 0 < days < AN_HOUR:
            raise ValueError("must be 0, or an hour (0.042) at least: an upload has to last until a task names it")
        return days


class ServeTable(Table):
    """The HTTP door, and what it lets in."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    input_bytes: int = Field(MIB, ge=1)
    batch_bytes: int = Field(64 * MIB, ge=1)  # of one body with many inputs
    artifact_bytes: int = Field(256 * MIB, ge=1)
    dashboard: bool = False  # Ray's own; it costs memory and some seconds of the start


class Settings(Table):
    """All that may be set. What is not named here is not a setting."""

    agents: dict[str, AgentTable] = Field(default_factory=dict)
    store: StoreTable = StoreTable()
    artifacts: ArtifactsTable = ArtifactsTable()
    retention: RetentionTable = RetentionTable()
    pool: PoolTable = Field(default_factory=PoolTable)
    serve: ServeTable = ServeTable()
    runtime: RuntimeTable = Field(default_factory=RuntimeTable)

    @field_validator("agents")
    @classmethod
    def _are_names(cls, agents: dict[str, AgentTable]) -> dict[str, AgentTable]:
        for name in agents:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name of an agent: it must match {NAME.pattern}")
        return agents


def load(path: Path, env: Mapping[str, str], flags: Tables) -> Settings:
    """The settings of the file at `path`, with RUBATO_* of `env` over it and `flags` over both.

    Relative paths in the file start at its folder, those of `env` and `flags` where the command was given.
    Raises SettingsProblem with every problem at once.
    """
    layers = {
        path.name: _anchored(_read(path), path.absolute().parent),
        "environment": _anchored(_from_environment(env), Path.cwd()),
        "flag": _anchored(flags, Path.cwd()),
    }
    try:
        return Settings.model_validate(_merged(layers.values()))
    except ValidationError as error:
        raise SettingsProblem(_sentence(problem, layers) for problem in error.errors()) from None


def _read(path: Path) -> Tables:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsProblem([f"{path}: {error.strerror}"]) from None
    except ValueError as error:
        raise SettingsProblem([f"{path} is not TOML: {error}"]) from None


def _from_environment(env: Mapping[str, str]) -> Tables:
    """RUBATO_SERVE_PORT=8001 as {"serve": {"port": "8001"}}; what fits no table is kept, and refused with the rest."""
    tables: Tables = {}
    for name, value in env.items():
        if name.startswith("RUBATO_") and name not in RESERVED:
            table, _, key = name.removeprefix("RUBATO_").lower().partition("_")
            tables.setdefault(table, {})[key] = value
    return tables


def _anchored(tables: Tables, folder: Path) -> Tables:
    """The same with the relative paths of [store], [artifacts] and [runtime] made absolute."""
    made = dict(tables)
    for table in ("store", "artifacts"):
        keys = tables.get(table)
        url = keys.get("url") if isinstance(keys, dict) else None
        if isinstance(url, str) and url and "://" not in url:
            made[table] = {**tables[table], "url": str(folder / Path(url).expanduser())}
    runtime = tables.get("runtime")
    if isinstance(runtime, dict):
        made["runtime"] = {**runtime, **dict(_anchored_runtime(runtime, folder))}
    return made


def _anchored_runtime(runtime: Tables, folder: Path) -> Iterator[tuple[str, Any]]:
    """Folders of packages, and what pip installs where that is a path."""
    packages, pip = runtime.get("packages"), runtime.get("pip")
    if isinstance(packages, list):
        yield "packages", [_absolute(each, folder) if isinstance(each, str) else each for each in packages]
    if isinstance(pip, str):
        yield "pip", _absolute(pip, folder)
    elif isinstance(pip, list):
        yield (
            "pip",
            [
                _absolute(each, folder) if isinstance(each, str) and each.startswith(("./", "../")) else each
                for each in pip
            ],
        )


def _absolute(path: str, folder: Path) -> str:
    return os.path.normpath(folder / Path(path).expanduser())


def _merged(layers: Iterable[Tables]) -> Tables:
    """Later layers over earlier ones, key by key."""
    merged: Tables = {}
    for layer in layers:
        for table, keys in layer.items():
            under = merged.get(table)
            merged[table] = {**under, **keys} if isinstance(under, dict) and isinstance(keys, dict) else keys
    return merged


def _sentence(problem: Any, layers: dict[str, Tables]) -> str:
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place)
    origin = next((origin for origin in reversed(list(layers)) if _holds(layers[origin], place)), "")
    if origin == "environment":
        name = "_".join(["RUBATO", *place]).upper()
    where = f"{name} ({origin})" if origin and origin != "environment" else name
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: there is no such setting{suggestion('.'.join(place), _names(Settings, place))}"


def _holds(layer: Any, place: list[str]) -> bool:
    for part in place:
        if not (isinstance(layer, dict) and part in layer):
            return False
        layer = layer[part]
    return True


def _names(model: type[BaseModel], place: list[str], above: str = "") -> Iterator[str]:
    """All settings, by the path to each; of tables with names of the operator's own, as `place` names one."""
    for name, field in model.model_fields.items():
        yield above + name
        kind, below = field.annotation, f"{above}{name}."
        if get_origin(kind) is dict and f"{'.'.join(place)}.".startswith(below):
            kind, below = get_args(kind)[1], f"{below}{place[below.count('.')]}."
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _names(kind, place, below)
