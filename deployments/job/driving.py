"""A driver at work, wherever it runs: what it says, and how to end it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol

from ..state import ROOT
from .progress import heard

LINE = 2**20  # bytes of what it says at once


class Driver(Protocol):
    """One that has been started."""

    def lines(self) -> AsyncGenerator[str]:
        """What it says, line by line, until it has ended."""

    async def stop(self) -> None:
        """Have it end as on Ctrl-C: it says how to go on."""

    async def last_words(self) -> str:
        """Why it has ended, where it could not say so itself."""


async def follow(driver: Driver, said: Callable[[dict[str, Any]], None], other: Callable[[str], None]) -> int:
    """Tell what a driver says until it has ended, and return its exit code. Ctrl-C stops it; once more leaves it."""
    loop, code, stopping = asyncio.get_running_loop(), None, list[asyncio.Task[None]]()

    def interrupt() -> None:
        if stopping:
            os._exit(130)
        stopping.append(loop.create_task(driver.stop()))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    async for line in driver.lines():
        words = heard(line)
        if words is None:
            other(line)
            continue
        said(words)
        code = words.get("code", code)
    if stopping:
        await asyncio.wait(stopping)
    if code is None:
        other(await driver.last_words())
    return 1 if code is None else int(code)


class Here:
    """A process of this machine, in a session of its own: Ctrl-C reaches it through whoever started it."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH", "")]))}
        self._process: asyncio.subprocess.Process | None = None

    async def lines(self) -> AsyncGenerator[str]:
        command = [sys.executable, "-P", "-m", "deployments.job", *self._arguments]
        process = self._process = await asyncio.create_subprocess_exec(
            *command, env=self._env, stdout=PIPE, stderr=STDOUT, start_new_session=True, limit=LINE
        )
        assert process.stdout is not None, "it is a pipe"
        async for line in process.stdout:
            yield line.decode(errors="replace").rstrip("\n")
        await process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)

    async def last_words(self) -> str:
        code = None if self._process is None else self._process.returncode
        return f"the driver ended with {code}; the same command goes on from where it was"
