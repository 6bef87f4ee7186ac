"""What simulated agents do: programs of a few operations, and what their output must be by what was recorded.

A program is JSON, a list of operations; each has a path (`0`, `2.1.0`), which keys the steps that it records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from agents import Resources

Program = list[list[Any]]

AGENTS = ("echo", "sums")
SIGNALS = ("go", "stop")
SHAPES = {"embed": Resources(gpus=1), "index": Resources(cpus=16)}  # by step, what it needs of its worker
DEEP = 2  # how deep tasks call tasks


def draw(roll: Random, depth: int = 0, *, inside: bool = False) -> Program:
    """A program; `inside` a branch nothing is emitted, and no worker is taken down."""
    return [_operation(roll, depth, inside=inside) for _ in range(roll.choice((1, 1, 2, 2, 3, 4)))]


def _operation(roll: Random, depth: int, *, inside: bool) -> list[Any]:
    kinds = ["step", "step", "step", "later", "sleep", "signal", "once", *SHAPES]
    if not inside:
        kinds += ["emit", "emit", "flaky"] + ["fail", "poison"] * (roll.random() < 0.15)
        kinds += ["gather"]
    if depth < DEEP:
        kinds += ["call", "map"]
    match roll.choice(kinds):
        case "sleep":
            return ["sleep", roll.choice((0.0, 0.5, 3.0, 8.0))]
        case "signal":
            return ["signal", roll.choice(SIGNALS), roll.choice((None, None, 0.0, 4.0))]
        case "call":
            return ["call", roll.choice(AGENTS), draw(roll, depth + 1)]
        case "map":
            parts = [draw(roll, depth + 1) for _ in range(roll.randint(1, 3))]
            return ["map", roll.choice(AGENTS), parts, roll.choice((0, 1, 2))]
        case "gather":
            return ["gather", [draw(roll, depth, inside=True) for _ in range(roll.randint(1, 3))]]
        case "flaky":
            return ["flaky", roll.choice((0.3, 0.7))]
        case kind:
            return [kind]


def step_of(operation: list[Any], path: str) -> str:
    """Name and key of the step that an operation records."""
    name = f"signal {operation[1]}" if operation[0] == "signal" else operation[0]
    return f"{name}:{path}"


def output(program: Program, journal: Mapping[str, str], path: str = "") -> list[Any]:
    """What the program returns if this is its journal. Raises KeyError for a step that is not recorded."""
    return [_value(operation, journal, f"{path}{place}") for place, operation in enumerate(program)]


def _value(operation: list[Any], journal: Mapping[str, str], path: str) -> Any:
    match operation:
        case ["step" | "later" | "once" | "embed" | "index" | "call" | "signal", *_]:
            return json.loads(journal[step_of(operation, path)])
        case ["sleep", _]:
            json.loads(journal[step_of(operation, path)])
            return None
        case ["map", _, parts, _]:
            return [json.loads(journal[f"map:{path}.{place}"]) for place in range(len(parts))]
        case ["gather", branches]:
            return [output(branch, journal, f"{path}.{place}.") for place, branch in enumerate(branches)]
    return None


def steps(program: Program, path: str = "") -> Iterator[str]:
    """The steps that a program records if it comes to its end, less those by which signals time out."""
    for place, operation in enumerate(program):
        at = f"{path}{place}"
        match operation:
            case ["map", _, parts, _]:
                yield from (f"map:{at}.{part}" for part in range(len(parts)))
            case ["gather", branches]:
                for part, branch in enumerate(branches):
                    yield from steps(branch, f"{at}.{part}.")
            case ["emit" | "flaky" | "fail" | "poison", *_]:
                continue
            case _:
                yield step_of(operation, at)


def emits(program: Program) -> int:
    """How often a program emits outside of steps."""
    return sum(operation == ["emit"] for operation in program)


def ever_fails(program: Program) -> bool:
    """Whether it may end in something else than an output, its children aside."""
    return any(operation[0] in ("fail", "flaky", "poison") for operation in program)
