"""The driver: from what was asked for to the exit code, wherever it runs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from agents.ids import new_id

from .book import Book, Start, book_at
from .chunks import chunks
from .errors import JobStopped, WrongUsage
from .flow import Flow, Manner
from .gateway import Gateway
from .journal import Header
from .lines import Survey, read_lines, survey
from .places import errors_of, is_url, plain, reading
from .progress import Listener, Progress

CONNECTIONS = 8
SECONDS = 90.0  # that one answer may take
FIRST_SECONDS = 5.0  # that the gateway may be away when the job begins: nobody wants to wait for what is not up
ORDERS = ("input", "completion")
BATCHES = 20  # in a full window
BATCH = 500  # lines of one, at most


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job was asked to be."""

    agent: str
    input: str
    out: str
    order: str = "input"
    options: dict[str, Any] = field(default_factory=dict)
    window: int = 10_000
    strict: bool = False
    cancel_on_interrupt: bool = False

    @property
    def batch(self) -> int:
        """Lines that are sent together, unless the job has begun with another number."""
        return max(1, min(BATCH, self.window // BATCHES))


def drive(wanted: Wanted, url: str, key: str, listener: Listener) -> int:
    """Run the job to its end or until it is interrupted, and say how it went: the exit code."""
    return asyncio.run(Driver(wanted, listener).run(url, key))


class Driver:
    """One run of one job."""

    def __init__(self, wanted: Wanted, listener: Listener) -> None:
        self._wanted = wanted
        self._listener = listener
        self._last = Progress(0, 0, 0, 0, 0.0)

    async def run(self, url: str, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=CONNECTIONS)
        timeout = httpx.Timeout(SECONDS, connect=5.0, pool=None)
        try:
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, limits=limits) as http:
                return await self._run(http)
        except JobStopped as stopped:
            self._listener.ended("stopped", stopped.code, self._last, str(stopped))
            return stopped.code

    async def _run(self, http: httpx.AsyncClient) -> int:
        wanted, note = self._wanted, self._listener.note
        check_places(wanted.input, wanted.out)
        with reading(wanted.input):
            """It can be: better known before the gateway is asked."""
        await Gateway(http, note, patience=FIRST_SECONDS).check(wanted.agent)
        found = await asyncio.to_thread(_survey, wanted.input)
        book = book_at(wanted.out, wanted.order)
        whole = False
        try:
            start = book.open(Header(new_id(), wanted.agent, found, wanted.order, wanted.options, wanted.batch))
            if not start.is_fresh:
                note(f"going on: {start.completed + start.failed:,} lines are recorded already")
            code = await self._flow(Gateway(http, note), book, start)
            whole = code in (0, 1)
        finally:
            book.close(whole=whole)
        return self._end(code)

    async def _flow(self, gateway: Gateway, book: Book, start: Start) -> int:
        """0, 1 with errors of lines, 130 when it was interrupted. Raises JobStopped."""
        wanted = self._wanted
        manner = Manner(wanted.order == "input", max(wanted.window, start.header.batch), wanted.strict)
        flow = Flow(gateway, book, start, manner, self._listener)
        with reading(wanted.input) as file, _interrupts() as interrupted:
            running = asyncio.ensure_future(flow.run(chunks(read_lines(file), start.header.batch)))
            asked = asyncio.ensure_future(interrupted.wait())
            try:
                await asyncio.wait([running, asked], return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                    return 1 if flow.tally.failed else 0
                await self._break_off(flow, running)
                return 130
            finally:
                asked.cancel()
                await flow.end_sending()
                self._last = flow.tally.progress()

    async def _break_off(self, flow: Flow, running: asyncio.Future[None]) -> None:
        running.cancel()
        await asyncio.wait([running])
        await flow.end_sending()
        if self._wanted.cancel_on_interrupt:
            await flow.cancel()

    def _end(self, code: int) -> int:
        wanted, last = self._wanted, self._last
        if code == 130:
            fate = "is canceled" if wanted.cancel_on_interrupt else "goes on in the pool"
            text = (
                f"interrupted after {last.done:,} of {last.lines:,} lines; what was in flight {fate}. "
                "The same command goes on from here."
            )
            self._listener.ended("interrupted", code, last, text)
        elif code:
            text = (
                f"{last.completed:,} of {last.lines:,} lines are in {wanted.out}, the others in {errors_of(wanted.out)}"
            )
            self._listener.ended("failed", code, last, text)
        else:
            self._listener.ended("completed", code, last, f"all {last.lines:,} lines are in {wanted.out}")
        return code


def check_places(input: str, out: str) -> None:
    """Raises WrongUsage where a job would write over what it reads."""
    same = input == out
    if not (is_url(input) or is_url(out)):
        one, other = Path(plain(input)), Path(plain(out))
        same = same or (one.exists() and other.exists() and one.samefile(other))
    if same:
        raise WrongUsage("IN and OUT are the same file")


def _survey(place: str) -> Survey:
    with reading(place) as file:
        return survey(file)


@contextmanager
def _interrupts() -> Iterator[asyncio.Event]:
    """Set when somebody presses Ctrl-C, or ends the job; who does so again ends it at once."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()

    def interrupt() -> None:
        if asked.is_set():
            os._exit(130)
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    try:
        yield asked
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
