"""Stands in for podman: takes the command line that Ray gives it, and starts the same Python without a container.

As in one, of the environment only what the command line names is there, and the image's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

IMAGE = {"PATH": os.environ["PATH"], "HOME": "/", "IN_IMAGE": ""}
TAKING = ("-v", "--env", "--entrypoint")  # a value


def main(arguments: list[str]) -> None:
    """`run [options] IMAGE [python] ARGUMENTS`"""
    given, rest, env = _options(arguments[1:]), list(arguments[1:]), dict(IMAGE)
    for option, value in given:
        rest = rest[2:] if option in TAKING else rest[1:]
        if option == "--env":
            name, _, env[name] = value.partition("=")
    env["IN_IMAGE"], *command = rest
    for source, target, *_ in (value.split(":") for option, value in given if option == "-v"):
        command = [word.replace(target, source) if target == "/shared" else word for word in command]
    python = os.environ["STANDS_IN_PYTHON"]
    os.execve(python, [python, *command[command[0] == "python" :]], _with_path(env))


def _options(words: list[str]) -> list[tuple[str, str]]:
    found = []
    while words and words[0].startswith("-"):
        takes = words[0] in TAKING
        found.append((words[0], words[1] if takes else ""))
        words = words[1 + takes :]
    return found


def _with_path(env: dict[str, str]) -> dict[str, str]:
    """Where the image's Python finds Rubato and the user's package."""
    return {**env, "PYTHONPATH": os.pathsep.join([os.environ["STANDS_IN_PATH"], str(Path(__file__).parents[2])])}


if __name__ == "__main__":
    main(sys.argv[1:])
