"""What a serveConfigV2 has wrong: Ray ignores each name that it does not know, so we do not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import ray
import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import DeploymentSchema, ServeDeploySchema

from deployments.nearest import suggestion
from deployments.rayservice import ARGUMENTS, texts
from deployments.settings import SettingsProblem

OURS = "deployments.rayservice:"
LLM = "ray.serve.llm:build_openai_app"


def faults(text: str) -> list[str]:
    """A sentence for each thing that is wrong with it."""
    config = yaml.safe_load(text)
    wrong = list(_unknown(config, ServeDeploySchema, ""))
    try:
        ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        wrong += [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    for application in config.get("applications", []):
        wrong += [*_misnamed(application), *_unknown_to_llm(application)]
    return wrong


def _unknown(value: Any, kind: Any, place: str) -> Iterator[str]:
    """What is said at this place and below it that has no name there."""
    if isinstance(value, list):
        (each,) = get_args(_plain(kind, list)) or (Any,)
        for number, item in enumerate(value):
            yield from _unknown(item, each, f"{place}[{number}]")
    model = _plain(kind, BaseModel)
    if model is None or not isinstance(value, dict):
        return
    fields = model.model_fields
    for name, under in value.items():
        if name in fields:
            yield from _unknown(under, fields[name].annotation, f"{place}.{name}")
        else:
            yield f"{place}.{name}: there is no such key{suggestion(name, fields)}"


def _plain(kind: Any, wanted: type) -> Any:
    """Of a type, or of the members of a union, the one that is `wanted`, or a kind of it."""
    if get_origin(kind) in (Union, UnionType):
        return next((found for each in get_args(kind) if (found := _plain(each, wanted)) is not None), None)
    origin = get_origin(kind) or kind
    return kind if isinstance(origin, type) and issubclass(origin, wanted) else None


def _misnamed(application: dict[str, Any]) -> Iterator[str]:
    """Where an application of ours is not named, placed and built as `./rubato up` does it."""
    path = application.get("import_path", "")
    if not path.startswith(OURS):
        return
    builder, arguments = path.removeprefix(OURS), application.get("args", {})
    if builder not in ARGUMENTS:
        yield f"{path}: there is no such builder{suggestion(builder, ARGUMENTS)}"
        return
    try:
        name = texts(builder, arguments)[-1]
    except SettingsProblem as problem:
        yield from problem.problems
        return
    named = ("gateway", "/", "gateway") if builder == "gateway" else (f"agent-{name}", f"/v1/agents/{name}", name)
    for key, right in zip(("name", "route_prefix"), named[:2], strict=True):
        if application.get(key) != right:
            yield f"{key} {application.get(key)!r} must be {right!r}"
    for deployment in application.get("deployments", []):
        if deployment.get("name") != named[2]:
            yield f"{named[0]} has no deployment {deployment.get('name')!r}; it has {named[2]!r}"


def _unknown_to_llm(application: dict[str, Any]) -> Iterator[str]:
    """What is said to Ray Serve LLM that has no name there."""
    if application.get("import_path") != LLM:
        return
    arguments = application.get("args", {})
    yield from _beyond(arguments, _fields("core/ingress/builder.py", "LLMServingArgs"), "args")
    configs = "core/configs/llm_config.py"
    for number, config in enumerate(arguments.get("llm_configs", [])):
        place = f"llm_configs[{number}]"
        yield from _beyond(config, _fields(configs, "LLMConfig"), place)
        loading = config.get("model_loading_config", {})
        yield from _beyond(loading, _fields(configs, "ModelLoadingConfig"), f"{place}.model_loading_config")
        yield from _unknown(config.get("deployment_config", {}), DeploymentSchema, f"{place}.deployment_config")


def _beyond(value: dict[str, Any], known: list[str], place: str) -> Iterator[str]:
    yield from (f"{place}.{name}: there is no such key{suggestion(name, known)}" for name in value if name not in known)


def _fields(file: str, name: str) -> list[str]:
    """Those of a model, read in Ray's source: to import it would take packages that only its LLM images have."""
    source = (Path(ray.__file__).parent / "llm" / "_internal" / "serve" / file).read_text()
    (found,) = [each for each in ast.parse(source).body if isinstance(each, ast.ClassDef) and each.name == name]
    targets = [each.target for each in found.body if isinstance(each, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name) and not target.id.startswith("_")]


def applications(text: str) -> dict[str, dict[str, Any]]:
    """The applications of a valid one, by name."""
    return {each["name"]: each for each in yaml.safe_load(text)["applications"]}
