"""The code that lies where processes of ours look for it, told from every other state of it by a short text."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from agents.catalog import Catalog, Entry
from cluster import raylocal

from .state import ROOT

OURS = ("agents", "cluster", "deployments")  # of our own folder: nothing else of it runs
PASSED = frozenset(["__pycache__", "node_modules", "site-packages"])  # as is whatever begins with a dot


def python_path() -> list[Path]:
    """Ours first, then what the user set, all absolute: workers have another current folder."""
    given = [Path(entry).absolute() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return list(dict.fromkeys([ROOT, *given]))


def code_mark(roots: Iterable[Path], carried: str = "") -> str:
    """A digest of every Python file below these folders; of ours, only of what runs. `carried` tells what agents have
    beside it from anything else."""
    found = hashlib.sha256(carried.encode())
    for root in roots:
        for folder in (ROOT / name for name in OURS) if root == ROOT else (root,):
            for file in _sources(folder):
                found.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
                found.update(file.read_bytes())
    return found.hexdigest()[:12]


def content_mark(folders: Iterable[Path]) -> str:
    """A digest of all that these folders have and Ray carries, data included; '' for none."""
    found = hashlib.sha256()
    for folder in (folders := list(folders)):
        for file in _files(folder, lambda name: name in raylocal.PASSED):
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            found.update(f"{folder.name}/{file.relative_to(folder)}\0{digest}\0".encode())
    return found.hexdigest()[:12] if folders else ""


def agent_marks(catalog: Catalog) -> dict[str, str]:
    """By name, a digest of what each agent declares for each of its tempos: its class, its version and its policy."""
    return {name: _mark(entry) for name, entry in catalog.items()}


def in_background(mark: str | None) -> str:
    """The part of an agent's mark that its workers go by; '' of one that has no background, or is not there."""
    return (mark or "").partition(".")[2]


def _mark(entry: Entry) -> str:
    policies = entry.agent.realtime, entry.agent.background
    told = ("" if policy is None else repr((entry.reference, entry.version, policy)) for policy in policies)
    return ".".join(text and hashlib.sha256(text.encode()).hexdigest()[:12] for text in told)


def _sources(folder: Path) -> Iterator[Path]:
    """The Python files below a folder, in an order that is always the same."""
    found = _files(folder, lambda name: name in PASSED or name.startswith("."))
    return (file for file in found if file.suffix == ".py")


def _files(folder: Path, passed: Callable[[str], bool]) -> Iterator[Path]:
    """The files below a folder, less the folders that are passed over, in an order that is always the same."""
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not passed(name))
        yield from (Path(path, name) for name in sorted(files))
