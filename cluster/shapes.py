"""What a shape of workers is called, and how Ray is asked for a worker of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from agents import Resources

from .nodekinds import NodeKind, selector

MIB = 2**20


def name_of(shape: Resources) -> str:
    """The name of the kind of workers that have this shape: no two shapes share one, and it may be part of an actor's.

    What has too many forms for a name is told apart by a digest.
    """
    parts = [f"{label}{_number(value)}" for label, value in (("cpu", shape.cpus), ("gpu", shape.gpus)) if value]
    if shape.memory:
        parts.append(f"mem{shape.memory}" if shape.memory % MIB else f"mem{shape.memory // MIB}m")
    parts += [shape.accelerator] if shape.accelerator else []
    parts += [shape.market.replace("_", "")] if shape.market != "any" else []
    if shape.accelerator or shape.custom or shape.labels:
        custom = {name: _number(amount) for name, amount in shape.custom.items()}
        told = json.dumps([shape.accelerator, custom, dict(shape.labels)])
        parts.append(hashlib.sha256(told.encode()).hexdigest()[:8])
    return "-".join(parts) or "light"


def ray_options(shape: Resources, kind: NodeKind | None = None) -> dict[str, Any]:
    """Options of a Ray actor that takes the shape, on a node of the kind where one is given.

    The accelerator is asked for by label: nodes that are yet to come declare no resource for it.
    """
    options: dict[str, Any] = {"num_cpus": shape.cpus}
    options |= {"num_gpus": shape.gpus} if shape.gpus else {}
    options |= {"memory": shape.memory} if shape.memory else {}
    options |= {"resources": dict(shape.custom)} if shape.custom else {}
    labels = selector(shape, kind)
    return options | ({"label_selector": labels} if labels else {})


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
