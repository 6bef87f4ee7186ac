"""What a rendered document has wrong by the schemas of Kubernetes and of custom resources: unknown fields too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate
import yaml

from .rendering import Document

VERSION = "1.34"  # of Kubernetes: what most clusters run
CRDS = Path(__file__).with_name("crds")
METADATA = {"name", "namespace", "labels", "annotations"}  # all that our manifests say there


def faults(document: Document) -> list[str]:
    """A sentence for each thing that is wrong with it."""
    group = document["apiVersion"].rpartition("/")[0]
    known = any(path.name.startswith(f"{group}_") for path in CRDS.glob("*.yaml")) if group else False
    return _custom(document) if known else _core(document)


def _core(document: Document) -> list[str]:
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'/'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    return []


def _custom(document: Document) -> list[str]:
    validator = _validators().get((document["apiVersion"], document["kind"]))
    if validator is None:
        return [f"there is no schema of {document['kind']} {document['apiVersion']}"]
    wrong = [f"metadata/{name}: unknown" for name in document["metadata"] if name not in METADATA]
    return wrong + [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(document)]


@cache
def _validators() -> dict[tuple[str, str], Any]:
    return {name: jsonschema.Draft7Validator(schema) for file in CRDS.glob("*.yaml") for name, schema in _schemas(file)}


def _schemas(file: Path) -> Iterator[tuple[tuple[str, str], Any]]:
    spec = yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
    for version in spec["versions"]:
        schema = _strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        yield (f"{spec['group']}/{version['name']}", spec["names"]["kind"]), schema


def _strict(schema: Any) -> Any:
    """The JSON Schema of a structural OpenAPI schema; it refuses what it does not know, as a strict API server does."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if not (key == "format" and isinstance(value, str))}
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if made.get("type") == "object" and "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [made["type"], "null"]
    return made
