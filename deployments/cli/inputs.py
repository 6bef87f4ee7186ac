"""What stands on the command line as an agent's input."""

from __future__ import annotations

import json
import mimetypes
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .errors import UsageProblem

_AHEAD = re.compile(r"\+([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_input(argument: str) -> Any:
    """The JSON value that INPUT means: itself, the content of `@file`, or with `-` what stands on stdin."""
    if argument == "-":
        return _parse(sys.stdin.buffer.read(), "stdin")
    if argument.startswith("@"):
        return _parse(read_file(Path(argument[1:])), argument[1:])
    return _parse(argument.encode("utf-8", "surrogateescape"), "INPUT")


def moment(argument: str) -> str:
    """The moment that this means, as RFC 3339: one of the calendar, local time where it has no offset, or `+90s`,
    `+10m`, `+2h`, `+3d` from now."""
    ahead = _AHEAD.fullmatch(argument)
    try:
        if ahead:
            at = datetime.now(UTC) + timedelta(seconds=int(ahead[1]) * _SECONDS[ahead[2]])
        else:
            at = datetime.fromisoformat(argument)
        return at.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise UsageProblem(
            f"{argument!r} is no moment; say one such as 2030-01-31T08:00, 2030-01-31T08:00:00Z, or +10m from now"
        ) from None


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageProblem(f"{path}: {error.strerror}") from None


def media_type(path: Path) -> str:
    """What the file's name says it is."""
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def artifact_field(agent: str, schema: dict[str, Any]) -> str:
    """The name of the only field of this input schema that takes an artifact. Raises UsageProblem otherwise."""
    fields = artifact_fields(schema)
    others = [name for name in schema.get("required", []) if name not in fields]
    if len(fields) != 1:
        has = f"{len(fields)} ({', '.join(fields)})" if fields else "none"
        raise UsageProblem(f"--each fills the input's only Artifact field, and the input of {agent} has {has}")
    if others:
        raise UsageProblem(f"--each fills only {fields[0]!r}, and the input of {agent} also needs {', '.join(others)}")
    return fields[0]


def artifact_fields(schema: dict[str, Any]) -> list[str]:
    """The fields of an input that take an artifact."""
    return [name for name, field in schema.get("properties", {}).items() if _takes_artifact(field)]


def _takes_artifact(field: dict[str, Any]) -> bool:
    choices = [field, *field.get("anyOf", []), *field.get("allOf", [])]
    return any(choice.get("$ref", "").endswith("/Artifact") for choice in choices)


def _parse(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        hint = """; quote it for the shell, as in '{"text": "hello"}'""" if where == "INPUT" else ""
        raise UsageProblem(f"{where} is not JSON: {error}{hint}") from None
