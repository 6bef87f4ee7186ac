"""The gateway as a job asks it: again and again while it is away, and not before it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import httpx

from ..nearest import suggestion
from .errors import Away, JobStopped, Refusal
from .lines import Splitter

PATIENCE = 600.0  # seconds that the gateway may be away
PAUSES = (0.2, 10.0)  # seconds between two tries: the first, and the longest
RESULT_BYTES = 64 * 1024 * 1024  # of one line of results
LATER = frozenset([408, 425, 429, 500, 502, 503, 504])
INTERNAL = "/problems/internal"
TRIES = 3  # of a batch that our own code fails on

Answer = TypeVar("Answer")
Sleep = Callable[[float], Awaitable[None]]


class Counts(NamedTuple):
    """How far a batch is."""

    done: int
    total: int


class Gateway:
    """One Rubato over HTTP. Every method raises JobStopped where it cannot be had."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        told: Callable[[str], None],
        *,
        patience: float = PATIENCE,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`told` hears why it has to wait."""
        self._http = http
        self._told = told
        self._patience = patience
        self._sleep = sleep

    async def check(self, agent: str) -> None:
        """Raises JobStopped unless there is such an agent, with a background mode."""
        found = {item["name"]: item for item in (await self._ask("GET", "/v1/agents"))["items"]}
        if agent not in found:
            there = f" (there are: {', '.join(sorted(found)[:20])})" if found else ""
            raise JobStopped(f"there is no agent {agent!r}{suggestion(agent, found)}{there}")
        if "background" not in found[agent]["modes"]:
            raise JobStopped(f"agent {agent!r} has no background mode, and a job's lines are background tasks")

    async def submit(self, key: str, body: bytes) -> str:
        """The id of the batch that this key has, from now on or since earlier. Raises Refusal."""
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        tries = 0

        async def attempt() -> Any:
            nonlocal tries
            tries += 1
            try:
                return await self._once("POST", "/v1/tasks/batch", content=body, headers=headers)
            except Away as away:
                if away.document.get("type") == INTERNAL and tries >= TRIES:
                    raise Refusal(away.document) from None
                raise

        return str((await self.again(attempt))["batch_id"])

    async def counts(self, batch: str) -> Counts:
        answer = await self._ask("GET", f"/v1/batches/{batch}")
        return Counts(answer["done"], answer["total"])

    async def results(self, batch: str) -> AsyncGenerator[str]:
        """A line for each task, in the order that they were sent in. Raises Away where they break off, Refusal."""
        splitter = Splitter(RESULT_BYTES)
        try:
            async with self._http.stream("GET", f"/v1/batches/{batch}/results") as answer:
                if answer.is_error:
                    await answer.aread()
                    raise _problem(answer)
                async for piece in answer.aiter_bytes():
                    for line in splitter.feed(piece):
                        yield line.text.decode()
        except httpx.TransportError as error:
            raise Away(f"the results broke off ({error or type(error).__name__})") from error
        if splitter.open:
            raise Away("the results broke off")

    async def cancel(self, batch: str) -> None:
        await self._ask("POST", f"/v1/batches/{batch}/cancel")

    async def take_up(self, batch: str) -> None:
        """Queue those tasks of a batch again that were canceled."""
        await self._ask("POST", "/v1/tasks/retry", json={"batch_id": batch, "state": "canceled"})

    async def again(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """What the attempt comes to, once the gateway is there. Raises JobStopped when it has been away for long."""
        pause, away_for, told = PAUSES[0], 0.0, False
        while True:
            try:
                return await attempt()
            except Away as away:
                wait = max(away.after, pause)
                away_for += 0 if away.is_busy else wait
                if away_for > self._patience:
                    raise JobStopped(f"{self._http.base_url} has been away for {away_for:.0f} s: {away}") from None
                if not (told or away.is_busy):
                    self._told(f"{away}; it is asked again until it answers")
                    told = True
            await self._sleep(wait)
            pause = min(PAUSES[1], pause * 2)

    async def _ask(self, method: str, path: str, **content: Any) -> Any:
        try:
            return await self.again(lambda: self._once(method, path, **content))
        except Refusal as refusal:
            raise JobStopped(words(refusal.document)) from None

    async def _once(self, method: str, path: str, **content: Any) -> Any:
        """Raises Away or Refusal."""
        try:
            answer = await self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise Away(f"{self._http.base_url} cannot be reached ({error or type(error).__name__})") from error
        if answer.is_error:
            raise _problem(answer)
        return answer.json()


def words(document: dict[str, Any]) -> str:
    """A problem document in a line."""
    parts = [document.get("title"), document.get("detail"), *(document.get("errors") or ())[:3]]
    return ": ".join(str(part).rstrip(".") for part in parts if part)


def _problem(answer: httpx.Response) -> Away | Refusal:
    """What a bad answer means; its problem document is made up where Serve or a proxy answered in its own way."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not (isinstance(document, dict) and "title" in document):
        document = {"title": answer.reason_phrase, "detail": answer.text.strip()[:300]}
    document["status"] = answer.status_code
    if answer.status_code not in LATER:
        return Refusal(document)
    after = answer.headers.get("retry-after", "")
    return Away(words(document), after=float(after) if after.isdecimal() else 0.0, document=document)
