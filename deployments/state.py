"""The state folder: what outlives `down`, and the record of what `up` started."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.places import same_place, without_password

ROOT = Path(__file__).resolve().parent.parent


class Busy(Exception):
    """Another `up` or `down` is at work in the same state folder."""


class OtherStore(Exception):
    """The settings name another store than the one that holds this folder's tasks."""


@dataclass(frozen=True, slots=True)
class Running:
    """What an `up` started, and `deploy` changed since, as `cluster.json` keeps it."""

    cluster: str  # the mark on every process that belongs to it
    url: str
    address: str  # of Ray's GCS
    logs: str
    store: str
    pid: int = 0  # of the process that leads a Ray of our own; 0 where somebody else started Ray
    agents: dict[str, str] = field(default_factory=dict)  # name -> module:Class
    marks: dict[str, str] = field(default_factory=dict)  # name -> what tells what the agent declares from anything else
    code: str = ""  # likewise of the code that runs
    runtime: str = ""  # likewise of the environment that agents are given
    secrets: dict[str, str] = field(default_factory=dict)  # name -> what tells its value from another: see `digest_key`
    settings: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)  # those settings that the command line gave, by table
    dashboard: str = ""
    since: float = 0.0  # seconds since the epoch

    @property
    def ours(self) -> bool:
        """Whether `up` started Ray, and `down` is to end it."""
        return self.pid != 0


class StateFolder:
    """One folder per Rubato, for its owner's eyes only."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def token(self) -> Path:
        return self.path / "ray-token"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def make(self) -> str:
        """See that the folder is there, and return the id that stays with it."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.path / "id"
        if not file.exists():
            _write(file, secrets.token_hex(8))
        return file.read_text().strip()

    def id(self) -> str | None:
        """The id of a folder that was made before."""
        file = self.path / "id"
        return file.read_text().strip() if file.exists() else None

    def digest_key(self) -> bytes:
        """Without it nobody can guess a secret by its digest."""
        file = self.path / "digest-key"
        if not file.exists():
            _write(file, secrets.token_hex(32))
        return bytes.fromhex(file.read_text().strip())

    def store(self, wanted: str) -> tuple[str, str]:
        """Where the store is, and its id where this folder has had one; `wanted` is what the settings say.

        Raises OtherStore where they say another one than the folder has had.
        """
        try:
            known = json.loads((self.path / "store.json").read_text())
        except FileNotFoundError:
            return wanted or str(self.path / "ledger.db"), ""
        had = known["url"] if "url" in known else known["path"]  # as a path was once called
        where = wanted or had
        if not same_place(where, had):
            raise OtherStore(
                f"the tasks of {self.path} are in {without_password(had)}, and the settings name "
                f"{without_password(where)}; leave the setting out, or choose another state folder with --state"
            )
        return where, known["id"]

    def remember_store(self, url: str, id: str) -> None:
        _write(self.path / "store.json", json.dumps({"url": url, "id": id}) + "\n")

    def running(self) -> Running | None:
        """What the last `up` wrote, whether or not it still runs."""
        try:
            return Running(**json.loads((self.path / "cluster.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def remember(self, running: Running) -> None:
        _write(self.path / "cluster.json", json.dumps(asdict(running), indent=2) + "\n")

    def forget(self) -> None:
        (self.path / "cluster.json").unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one `up` or `down` at a time. Raises Busy, which names the other's process."""
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise Busy(f"another rubato is at work in {self.path} (process {file.read().strip()})") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
            file.truncate(0)


def _write(file: Path, text: str) -> None:
    """Written aside and renamed, readable by its owner: nobody ever sees it half."""
    aside = file.with_suffix(".new")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text)
    aside.replace(file)
