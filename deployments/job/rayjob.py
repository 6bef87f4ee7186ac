"""A driver as a Ray job: submitted to the cluster's Job API, followed by its log, stopped through it."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents.ids import new_id
from cluster import raylocal

from ..state import ROOT, Running, StateFolder
from .errors import JobStopped

STOP_SECONDS = "30"  # that a driver has to end by itself: it may be canceling what is in flight
ENDED = frozenset(["SUCCEEDED", "FAILED", "STOPPED"])
POLL = 0.5


class NoJobs(Exception):
    """There is no Job API; the message says why."""


class RayJob:
    """One job of a cluster's."""

    def __init__(self, client: Any, id: str) -> None:
        self._client = client
        self.id = id

    async def lines(self) -> AsyncGenerator[str]:
        """A log that is read anew, since the connection to it broke, says everything from its start again."""
        while True:
            rest = ""
            try:
                async for piece in self._client.tail_job_logs(self.id):
                    *whole, rest = (rest + piece).split("\n")
                    for line in whole:
                        yield line
            except (RuntimeError, OSError):  # broken off; whether the job has ended is asked below
                rest = ""
            if rest:
                yield rest
            if await self._status() in ENDED:
                return
            await asyncio.sleep(POLL)

    async def stop(self) -> None:
        await asyncio.to_thread(self._client.stop_job, self.id)

    async def last_words(self) -> str:
        info = await asyncio.to_thread(self._client.get_job_info, self.id)
        return f"Ray job {self.id} is {info.status}: {_line(info.message or 'it says no reason')}"

    async def _status(self) -> str:
        return str(await asyncio.to_thread(self._client.get_job_status, self.id))


def submit(running: Running, folder: StateFolder, arguments: Sequence[str], key: str) -> RayJob:
    """Submit a driver with these arguments to the Ray that `up` works on; it acts with the key.

    Raises NoJobs where nothing takes jobs, JobStopped where it is refused, RayProblem where there is no Ray.
    """
    id = f"rubato-job-{new_id()}"
    client = _client(running, folder)
    asked = ["--json", f"--url={running.url}"]
    if running.ours:
        once = _keep(folder, id, key) if key else None
        asked += [f"--key-once={once}"] if once else []
        command, env = [sys.executable, "-P", "-m", "deployments.job"], runtime_env({})
    else:
        command = ["python", "-m", "deployments.job"]
        env = {
            **runtime_env({"RUBATO_KEY": key} if key else {}),
            "working_dir": str(ROOT),
            "excludes": raylocal.EXCLUDES,
        }
    try:
        # The shell that Ray starts it in makes way for it: a signal to the job reaches the driver once.
        client.submit_job(
            entrypoint=f"exec {shlex.join([*command, *asked, *arguments])}", submission_id=id, runtime_env=env
        )
    except RuntimeError as error:
        raise JobStopped(f"Ray refuses the job: {_line(str(error))}") from None
    return RayJob(client, id)


def runtime_env(env: dict[str, str]) -> dict[str, Any]:
    return {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": STOP_SECONDS, **env}}


def _client(running: Running, folder: StateFolder) -> Any:
    """Ray reads its environment once, when it is imported: the secret that it presents has to be there before."""
    if running.ours:
        if not running.dashboard:
            raise NoJobs("[serve] dashboard is off")
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(folder.token))
    else:
        os.environ["RAY_AUTH_MODE"] = raylocal.auth_mode(os.environ, Path.home())
        raylocal.check_listens(running.address)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # they would come before the address that is meant
        os.environ.pop(name, None)
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        with _hushed():
            return JobSubmissionClient(running.dashboard or running.address)
    except (ConnectionError, ValueError) as error:  # no dashboard serves there
        raise NoJobs(_line(str(error))) from None
    except (RuntimeError, RayError) as error:  # the token is missing, or wrong
        raise JobStopped(
            f"Ray does not let us in ({_line(str(error))[:120]}...): give RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH as the "
            "cluster has them"
        ) from None


@contextmanager
def _hushed() -> Iterator[None]:
    """Around what makes Ray's own core complain on stderr, whatever its log level: what goes wrong is told by us."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _keep(folder: StateFolder, id: str, key: str) -> Path:
    """The key in a file that only its owner can read: what a job is given otherwise is shown to all who list jobs."""
    file = folder.path / "jobs" / f"{id}.key"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(key)
    return file


def _line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[0][:300] if lines else "no reason"
