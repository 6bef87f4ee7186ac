"""What callers are told about an agent: its modes, its types as JSON Schemas, its policies."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import Any

from agents import Mode, values
from agents.agent import input_type, output_type
from agents.catalog import Entry


def describe(entry: Entry) -> dict[str, Any]:
    """One agent as `GET /v1/agents/{name}` shows it."""
    agent = entry.agent
    modes = [Mode.REALTIME] * (agent.realtime is not None) + [Mode.BACKGROUND] * (agent.background is not None)
    return {
        "name": agent.name,
        "version": entry.version,
        "description": inspect.cleandoc(agent.__doc__ or ""),
        "modes": modes,
        "input": values.adapter(input_type(agent)).json_schema(),
        "output": values.adapter(output_type(agent)).json_schema(mode="serialization"),
        "realtime": agent.realtime and asdict(agent.realtime),
        "background": agent.background and asdict(agent.background),
    }
