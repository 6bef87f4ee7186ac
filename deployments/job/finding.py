"""Where the gateway is, and the key to call it with; run as a module it asks the Ray around it, and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ..state import StateFolder
from .errors import JobStopped, WrongUsage

SECONDS = 60.0
KEY, KEY_FILE = "RUBATO_KEY", "RUBATO_KEY_FILE"


def find_url(url: str, state: Path, env: Mapping[str, str]) -> str:
    """`url`, else what `up` has started with this state folder, else what serves on the Ray whose job this is."""
    if url:
        return url
    running = StateFolder(state).running()
    if running is not None:
        return running.url
    found = _ask_ray(env) if env.get("RAY_ADDRESS") else ""
    if not found:
        raise JobStopped(f"Rubato is not up (state folder {state}); start it with `./rubato up`, or name it with --url")
    return found


def find_key(env: Mapping[str, str], once: Path | None) -> str:
    """The key of RUBATO_KEY, else in the file RUBATO_KEY_FILE, '' for none; a file that is for once is gone then."""
    file = once or (Path(env[KEY_FILE]) if env.get(KEY_FILE) and not env.get(KEY) else None)
    try:
        key = file.read_text() if file else env.get(KEY, "")
        if once:
            once.unlink()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise WrongUsage(f"the key cannot be read from {file}: {reason}") from None
    if not (key.strip().isascii() and key.strip().isprintable()):
        raise WrongUsage(f"{file or KEY} holds something that cannot be a key")
    return key.strip()


def _ask_ray(env: Mapping[str, str]) -> str:
    """In a process of its own: Ray takes more memory than a job does."""
    command = [sys.executable, "-m", __name__]
    found = subprocess.run(command, env=dict(env), capture_output=True, text=True, timeout=SECONDS, check=False)
    return found.stdout.strip().rpartition("\n")[2] if found.returncode == 0 else ""


def main() -> None:
    """Say where Serve answers."""
    from cluster import raylocal

    from .. import foreground

    raylocal.connect(os.environ["RAY_ADDRESS"])
    sys.stdout.write(f"{foreground.running_url()}\n")
    raylocal.disconnect()


if __name__ == "__main__":
    main()
