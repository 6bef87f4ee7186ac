"""Three commands to try on what has just been started."""

from __future__ import annotations

import json
import shlex
from typing import Any

from .inputs import artifact_fields

QUESTIONS = {"support": {"text": "What happens when a worker dies?"}}  # worth asking; elsewhere any input that fits
BACKGROUND = "background"
PLAIN = {"string": "hello", "integer": 1, "number": 1.5, "boolean": True, "array": [], "null": None}


def hints(url: str, agents: list[dict[str, Any]], *, keyed: bool = False) -> list[str]:
    """Commands that work on these agents, as `GET /v1/agents` describes them; `keyed`: with the key in RUBATO_KEY."""
    files = [agent["name"] for agent in agents if artifact_fields(agent["input"]) and BACKGROUND in agent["modes"]]
    plain = [agent for agent in agents if not artifact_fields(agent["input"])]
    lines = [line for agent in plain for line in _on(url, agent, submit=not files, keyed=keyed)][: 2 if files else 3]
    for name in files[:1]:
        lines.append(f"./rubato submit {name} --each {'samples/*' if name == 'documents' else 'FILES...'} --wait")
    return [*lines, "./rubato tasks", "./rubato status"][:3]


def _on(url: str, agent: dict[str, Any], *, submit: bool, keyed: bool) -> list[str]:
    name = agent["name"]
    body = shlex.quote(json.dumps(QUESTIONS.get(name) or example(agent["input"])))
    lines = []
    if "realtime" in agent["modes"]:
        lines.append(f"./rubato run {name} {body}")
        key = ' -H "Authorization: Bearer $RUBATO_KEY"' if keyed else ""
        lines.append(f"curl -s {url}/v1/agents/{name}/run{key} -H 'Content-Type: application/json' -d {body}")
    if submit and BACKGROUND in agent["modes"]:
        lines.append(f"./rubato submit {name} {body} --wait")
    return lines


def example(schema: dict[str, Any], definitions: dict[str, Any] | None = None) -> Any:
    """A small value that fits a JSON Schema; of an object, only what it requires."""
    definitions = definitions or schema.get("$defs", {})
    if "$ref" in schema:
        return example(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    for given in ("const", "default"):
        if given in schema:
            return schema[given]
    for choices in ("examples", "enum"):
        if schema.get(choices):
            return schema[choices][0]
    for parts in ("anyOf", "oneOf", "allOf"):
        if schema.get(parts):
            return example(schema[parts][0], definitions)
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        return {name: example(fields.get(name, {}), definitions) for name in schema.get("required", [])}
    return PLAIN.get(str(schema.get("type")), {})
