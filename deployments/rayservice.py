"""What the serveConfigV2 of a RayService names: builders of the gateway and of each agent's application.

Serve runs a builder as a task on any node, and again whenever it reads the configuration again. So what they all need,
the ledger and the pool, is not started by them but by an actor of its own (`starter`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve

from agents.catalog import Catalog, Entry
from agents.errors import NotLoadable
from cluster.equipment import Equipment, equip

from . import foreground, serving, starter
from .admitting import is_loopback
from .bodies import Limits
from .carrying import on_nodes
from .nearest import suggestion
from .settings import Settings, SettingsProblem, load
from .up import load_agents
from .wiring import GatewayPlan, start_gateway

ARGUMENTS: Mapping[str, tuple[str, ...]] = {"gateway": ("settings",), "agent": ("settings", "name")}
"""What each builder takes: the path of the settings file, which every node must have, and an agent's name."""


def gateway(arguments: dict[str, Any]) -> serve.Application:
    """The gateway; the ledger and the pool follow once all applications run. Raises what `starter.begin` does."""
    (file,) = texts("gateway", arguments)
    settings, catalog, equipment = _read(file)
    opens = _opens(settings)
    starter.begin(file, opens=opens)
    references = tuple(entry.reference for entry in catalog.values())
    return serving.build_gateway(
        start_gateway, GatewayPlan(references, settings.artifacts.url, _limits(settings), opens, equipment)
    )


def agent(arguments: dict[str, Any]) -> serve.Application:
    """One agent's application."""
    file, name = texts("agent", arguments)
    settings, catalog, equipment = _read(file)
    entry = _entry(catalog, name)
    artifacts, limits = settings.artifacts.url, _limits(settings)
    plan = serving.ReplicaPlan(entry.reference, artifacts, limits.input, _opens(settings), equipment)
    return serving.build(entry, plan)


def texts(builder: str, arguments: Mapping[str, Any]) -> list[str]:
    """The values that a builder was given, in the order of ARGUMENTS. Raises SettingsProblem for any other."""
    known = ARGUMENTS[builder]
    wrong = [
        f"{builder} takes no argument {name!r}{suggestion(name, known)}" for name in arguments if name not in known
    ]
    wrong += [f"{builder} needs the argument {name!r}, a text" for name in known if not _is_text(arguments.get(name))]
    if wrong:
        raise SettingsProblem(wrong)
    return [arguments[name] for name in known]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _read(file: str) -> tuple[Settings, Catalog, Equipment]:
    settings = load(Path(file), os.environ, {})
    equipment = on_nodes(settings.runtime)
    equip(equipment)
    return settings, load_agents({name: table.agent for name, table in settings.agents.items()}), equipment


def _entry(catalog: Catalog, name: str) -> Entry:
    if name not in catalog:
        raise NotLoadable(name, f"the settings have no [agents.{name}]{suggestion(name, catalog)}")
    return catalog[name]


def _opens(settings: Settings) -> bool:
    return is_loopback(foreground.host_of(settings.serve.host))


def _limits(settings: Settings) -> Limits:
    serve_table = settings.serve
    return Limits(serve_table.input_bytes, serve_table.batch_bytes, serve_table.artifact_bytes)
