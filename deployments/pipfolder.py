"""What pip would install for the user's agents, in a folder of its own that fits what Rubato itself runs with."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from agents import RubatoError
from cluster.equipment import SITE

LINE = 400  # characters of what an installer says


class CannotInstall(RubatoError):
    """The requirements cannot be had; the message says why."""


def installed(pip: list[str] | str, kept: Path) -> Path:
    """The folder with all that these requirements need beyond what runs here; made once for the same ones.

    Whatever Rubato or Ray itself needs has the version that is here already. Where a requirements file has hashes each
    of it must have one that fits. Raises CannotInstall.
    """
    lines = pip if isinstance(pip, list) else _read(Path(pip)).splitlines()
    beside = Path(pip).parent if isinstance(pip, str) else Path("/")
    folder = kept / _mark(lines, beside) / SITE
    if folder.exists():
        return folder
    shutil.rmtree(kept, ignore_errors=True)  # what was installed for other requirements
    aside = kept / "new" / SITE
    aside.mkdir(parents=True)
    hashed = any(b"--hash=" in content for content in _contents(lines, beside))
    _install("\n".join(lines) + "\n", aside, beside, hashed=hashed)
    _drop_what_is_here(aside)
    aside.parent.rename(folder.parent)
    return folder


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise CannotInstall(f"[runtime] pip names {file}: {error.strerror}") from None


def _mark(lines: list[str], beside: Path) -> str:
    """Tells one set of requirements, on top of what is here, from any other."""
    told = hashlib.sha256("\n".join([sys.version, *_here()]).encode())
    for content in _contents(lines, beside):
        told.update(content + b"\0")
    return told.hexdigest()[:16]


def _contents(lines: list[str], beside: Path) -> Iterator[bytes]:
    """The lines, and the files that they name: wheels, and further requirements."""
    for line in lines:
        yield line.encode()
        for path in (beside / word for word in line.split()):
            if path.is_file():
                yield path.read_bytes()
                yield from _contents(_read(path).splitlines(), path.parent) if line.startswith("-") else ()


def _here() -> list[str]:
    """What is installed here, each with its version, as constraints on what is added."""
    return sorted({f"{_name(found)}=={found.version}" for found in distributions() if found.name})


def _name(found: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", found.name).lower()


def _install(text: str, target: Path, folder: Path, *, hashed: bool) -> None:
    constraints = target.parent / "constraints.txt"
    constraints.write_text("\n".join(_here()) + "\n")
    command = [_uv(), "pip", "install", "--quiet", "--no-config", "--python", sys.executable]
    command += ["--target", str(target), "--constraint", str(constraints), "--requirement", "-"]
    command += ["--require-hashes"] if hashed else []
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    ended = subprocess.run(command, input=text, env=env, cwd=folder, capture_output=True, text=True)
    if ended.returncode:
        raise CannotInstall(f"[runtime] pip: {' '.join(ended.stderr.split())[:LINE]}")


def _uv() -> str:
    try:
        from uv import find_uv_bin
    except ImportError:
        raise CannotInstall("[runtime] pip needs uv, which ./rubato installs: install it beside Rubato") from None
    return str(find_uv_bin())


def _drop_what_is_here(target: Path) -> None:
    """Leave what is new: the rest is the same as here, and would only be carried about."""
    (target / ".lock").unlink(missing_ok=True)  # uv's own
    here = {_name(found) for found in distributions()}
    for found in [found for found in distributions(path=[str(target)]) if _name(found) in here]:
        for file in found.files or ():
            Path(str(file.locate())).unlink(missing_ok=True)
    for folder in _deepest_first(target):
        if not any(folder.iterdir()):
            folder.rmdir()


def _deepest_first(target: Path) -> Iterator[Path]:
    for path, folders, _ in os.walk(target, topdown=False):
        yield from (Path(path, name) for name in folders)
