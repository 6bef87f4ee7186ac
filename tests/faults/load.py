"""Callers in real time, each with a connection of its own, who ask again as soon as they have an answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from agents.ids import new_id
from deployments.ingress import DRAIN

from .answerers import Ask

SSE = "text/event-stream"
CUT_OFF = 0  # the status of a request whose connection ended without an answer
ANSWERED = (200, 202)
OUTLASTS = (DRAIN + 4.0, DRAIN + 5.0)  # seconds: longer than a replica that stops still takes requests
PAUSES = (0.05, 0.1, 0.2, 0.5, *[1.0] * 20)  # seconds after which who got no answer asks again

Span = tuple[float, float]  # seconds: at least, at most
How = Callable[[httpx.AsyncClient, float], Awaitable["Call"]]


@dataclass
class Call:
    """One request. Where it has a key it is asked again until it is answered, with the same one."""

    name: str
    began: float = field(default_factory=time.monotonic)
    tries: list[int] = field(default_factory=list)  # the status of each
    ended: float = 0.0  # the first of them
    task_id: str = ""
    pid: int = 0  # of who answered it
    said: str = ""  # what it got in place of an answer

    def tried(self, status: int) -> None:
        self.ended = self.ended or time.monotonic()
        self.tries.append(status)

    @property
    def failed(self) -> bool:
        """Whether the first try was not answered."""
        return self.tries[0] not in ANSWERED


class Load:
    """What all callers got, in the order of their answers. `roll` says how long each request takes."""

    def __init__(
        self, url: str, agent: str, trace: Path, headers: Mapping[str, str], roll: random.Random, *, keyed: bool = False
    ) -> None:
        self.trace = trace
        self.calls: list[Call] = []
        self._client: dict[str, Any] = {"base_url": url, "timeout": 60.0, "headers": headers, "verify": False}
        self._run = f"/v1/agents/{agent}/run"
        self._roll = roll
        self._keyed = keyed
        self._over = asyncio.Event()

    @asynccontextmanager
    async def going(self, *, short: int = 6, long: int = 0, streams: int = 0) -> AsyncIterator[None]:
        """So many callers at work: every third of the short ones connects anew for each request. On the way out they
        wait for their last answers."""
        self._over.clear()
        async with asyncio.TaskGroup() as group:
            for number in range(short):
                group.create_task(self._call(self.ask, (0.0, 0.1), anew=number % 3 == 2))
            for _ in range(long):
                group.create_task(self._call(self.ask, (2.0, 3.0)))
            for _ in range(streams):
                group.create_task(self._call(self.listen, OUTLASTS))
            try:
                yield
            finally:
                self._over.set()

    @asynccontextmanager
    async def resting(self, number: int) -> AsyncIterator[None]:
        """So many callers who ask, and ask again on the way out, each over the connection that it has kept."""
        kept = httpx.Limits(keepalive_expiry=None)
        async with AsyncExitStack() as stack:
            clients = [httpx.AsyncClient(**self._client, limits=kept) for _ in range(number)]
            for client in clients:
                await stack.enter_async_context(client)
            self.calls += await asyncio.gather(*(self.ask(client, 0.0) for client in clients))
            yield
            self.calls += [await self.ask(client, 0.0) for client in clients]

    async def many(self, number: int, seconds: Span, **headers: str) -> list[Call]:
        """So many requests at once."""
        limits = httpx.Limits(max_connections=number)
        async with httpx.AsyncClient(**self._client, limits=limits) as http:
            asked = (self.ask(http, self._roll.uniform(*seconds), **headers) for _ in range(number))
            calls = await asyncio.gather(*asked)
        self.calls += calls
        return calls

    async def ask(self, http: httpx.AsyncClient, seconds: float, **headers: str) -> Call:
        """One request for an answer."""
        call = Call(f"ask-{new_id()}")
        key = {"Idempotency-Key": call.name} if self._keyed else {}
        for pause in PAUSES if self._keyed else (0.0,):
            try:
                answer = await http.post(self._run, content=self._body(call, seconds), headers={**key, **headers})
            except httpx.TransportError as error:
                call.tried(CUT_OFF)
                call.said = call.said or repr(error)
            else:
                call.tried(answer.status_code)
                call.task_id = answer.headers.get("task-id", "")
                if answer.status_code in ANSWERED:
                    call.pid = answer.json().get("pid", 0)
                    break
                call.said = call.said or answer.text[:300]
            await asyncio.sleep(pause)
        return call

    async def listen(self, http: httpx.AsyncClient, seconds: float) -> Call:
        """One request for a stream of events: it is answered if that ends with the output."""
        call = Call(f"listen-{new_id()}")
        stream = http.stream("POST", self._run, content=self._body(call, seconds), headers={"Accept": SSE})
        told = ""
        try:
            async with stream as answer:
                async for text in answer.aiter_text():
                    told += text
        except httpx.TransportError:
            call.tried(CUT_OFF)
            return call
        events = [json.loads(line.removeprefix("data:")) for line in told.splitlines() if line.startswith("data:")]
        if events and events[-1]["type"] == "output":
            call.pid = events[-1]["data"]["output"]["pid"]
        call.tried(answer.status_code if call.pid or answer.status_code != 200 else CUT_OFF)
        return call

    def latest(self) -> set[int]:
        """The processes that gave the latest answers."""
        return {call.pid for call in self.calls[-20:]}

    def failed(self) -> list[Call]:
        """The calls whose first try was not answered."""
        return [call for call in self.calls if call.failed]

    def told(self) -> str:
        """What there was, in a line."""
        kinds = Counter(call.name.partition("-")[0] for call in self.calls)
        tries = Counter(" ".join(map(str, call.tries)) for call in self.calls)
        return f"{dict(kinds)} with {dict(tries)} from {len({call.pid for call in self.calls})} processes"

    def _body(self, call: Call, seconds: float) -> str:
        return Ask(trace=str(self.trace), name=call.name, seconds=seconds).model_dump_json()

    async def _call(self, how: How, seconds: Span, *, anew: bool = False) -> None:
        while not self._over.is_set():
            async with httpx.AsyncClient(**self._client) as http:
                while not self._over.is_set():
                    self.calls.append(await how(http, self._roll.uniform(*seconds)))
                    if anew:
                        break
