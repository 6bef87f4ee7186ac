"""The folder in which tests and the cloud meet: what is launched, and what is not to be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

HEAD_ID = f"{1:056x}"  # of the head, as a node and as a machine
HEAD_KIND = "head"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that was launched; `id` is also its node's, `pid` that of its first process."""

    id: str
    kind: str
    pid: int


class Ground:
    """Files in a folder: each is one fact, written whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("machines", "logs"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def machines(self) -> list[Machine]:
        """Those that run."""
        return [Machine(*json.loads(file.read_text())) for file in (self.folder / "machines").glob("*.json")]

    def add(self, id: str, kind: str, pid: int) -> None:
        new = self.folder / "machines" / f"{id}.new"
        new.write_text(json.dumps([id, kind, pid]))
        new.rename(new.with_suffix(".json"))

    def remove(self, id: str) -> None:
        (self.folder / "machines" / f"{id}.json").unlink(missing_ok=True)

    @property
    def turn(self) -> Path:
        """The file that a machine locks while it comes up, and in which it leaves its ports."""
        return self.folder / "turn"

    def log(self, id: str) -> Path:
        return self.folder / "logs" / id

    def refuse(self, kind: str, refused: bool = True) -> None:
        """Have the cloud be out of this kind, or have it again."""
        _mark(self.folder / f"no-{kind}", refused)

    def hang(self, kind: str, hung: bool = True) -> None:
        """Have machines of this kind not come up from now on, or come up again."""
        _mark(self.folder / f"hung-{kind}", hung)

    def refuses(self, kind: str) -> bool:
        return (self.folder / f"no-{kind}").exists()

    def hangs(self, kind: str) -> bool:
        return (self.folder / f"hung-{kind}").exists()


def _mark(file: Path, there: bool) -> None:
    if there:
        file.touch()
    else:
        file.unlink(missing_ok=True)
