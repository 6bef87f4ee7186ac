"""What is carried to where agents run, beside our own code: gathered and checked before anything is started."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agents import RubatoError
from cluster import raylocal
from cluster.equipment import Equipment, seal

from .codemark import OURS, content_mark
from .phases import Phases
from .pipfolder import installed
from .runtimetable import RuntimeTable
from .state import StateFolder


class CannotCarry(RubatoError):
    """What agents need cannot be carried; each of `args` is a sentence for a person."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))


@dataclass(frozen=True, slots=True)
class Carried:
    """All that agents have beside our code, by the settings' [runtime].

    `code` tells packages, requirements and image from any other, `around` the environment; `digests` do so for each
    secret, to who has the state folder's key and no one else.
    """

    packages: tuple[Path, ...] = ()
    site: Path | None = None  # with what pip installed
    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    digests: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    around: str = ""

    @property
    def modules(self) -> list[str]:
        """The folders that go to every node."""
        return [str(path) for path in (*self.packages, self.site) if path is not None]


def carry(table: RuntimeTable, state: StateFolder, env: Mapping[str, str], phases: Phases) -> Carried:
    """What there is to carry; the values of secrets are those of `env`. Raises CannotCarry, and PhaseFailed where pip's
    part cannot be had."""
    packages = [Path(path) for path in table.packages]
    wrong = [*_wrong_packages(packages), *_missing(table.secrets, env)]
    if wrong:
        raise CannotCarry(*wrong)
    site = None
    if table.pip:
        with phases.phase("install what pip names"):
            site = installed(table.pip, state.path / "runtime")
    modules = [*packages, *([site] if site else ())]
    secrets = {name: env[name] for name in table.secrets}
    digests = {name: _digest(state.digest_key(), value) for name, value in secrets.items()}
    return Carried(
        tuple(packages),
        site,
        table.image,
        dict(table.env),
        secrets,
        digests,
        code=" ".join(filter(None, [content_mark(modules), table.image])),
        around=_around(table.env, digests),
    )


def enter(carried: Carried, links: Path) -> None:
    """Let this process load agents as workers do. Each package is found by a link of its own: what lies beside it is
    not there elsewhere either."""
    os.environ.update(carried.env)
    shutil.rmtree(links, ignore_errors=True)
    if carried.packages:
        links.mkdir()
        sys.path.insert(0, str(links))
    for package in carried.packages:
        (links / package.name).symlink_to(package, target_is_directory=True)
    if carried.site:
        sys.path.append(str(carried.site))


def equipment(carried: Carried) -> Equipment:
    """What the connected cluster's processes are given. Raises CannotCarry where secrets would lie open there."""
    sealed = b""
    if carried.secrets:
        token = raylocal.token()
        if not token:
            raise CannotCarry(
                f"whoever reaches this cluster could read {', '.join(carried.secrets)}, for it asks nobody for a token:"
                " switch Ray's token authentication on, or leave [runtime] secrets out and set them on its nodes"
            )
        sealed = seal(carried.secrets, token)
    return Equipment(tuple(carried.env.items()), tuple(carried.secrets), sealed)


def on_nodes(table: RuntimeTable) -> Equipment:
    """Where each node is a container of one image: that has the code, and its environment the secrets. Raises
    CannotCarry where the settings want more."""
    wanted = [name for name in ("packages", "pip", "image") if getattr(table, name)]
    if wanted:
        raise CannotCarry(
            f"[runtime] {' and '.join(wanted)} cannot be set where Kubernetes starts Ray: what agents need belongs into"
            " the image of its pods"
        )
    return Equipment(tuple(table.env.items()), tuple(table.secrets))


def _wrong_packages(packages: list[Path]) -> Iterator[str]:
    for path in packages:
        if not path.is_dir():
            yield f"[runtime] packages names {path}, and there is no such folder"
        elif not path.name.isidentifier():
            yield f"[runtime] packages names {path}, and {path.name!r} cannot be imported"
        elif path.name in OURS:
            yield f"[runtime] packages names {path}, and Rubato has a package {path.name!r} of its own"
        elif next(path.rglob("*.py"), None) is None:
            yield f"[runtime] packages names {path}, and no Python file is in there"
    names = [path.name for path in packages]
    yield from (f"[runtime] packages has {name!r} twice" for name in dict.fromkeys(names) if names.count(name) > 1)


def _missing(names: list[str], env: Mapping[str, str]) -> Iterator[str]:
    missing = [name for name in names if name not in env]
    if missing:
        yield f"[runtime] secrets names {', '.join(missing)}, and the environment of this command has no such value"


def _digest(key: bytes, value: str) -> str:
    return hmac.new(key, value.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:16]


def _around(env: Mapping[str, str], digests: Mapping[str, str]) -> str:
    if not env and not digests:
        return ""
    return hashlib.sha256(json.dumps([env, digests], sort_keys=True).encode()).hexdigest()[:12]
