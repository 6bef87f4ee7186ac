"""From lines to batches that are accepted: what is wrong with a line is found out without losing the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from .chunks import Bad, body
from .errors import JobStopped, Refusal
from .gateway import words
from .journal import Batch
from .refusals import alone, concerns_lines, culprits

Items = Sequence[tuple[int, bytes]]
Accept = Callable[[Batch], None]


class Submits(Protocol):
    """Where batches go."""

    def submit(self, key: str, body: bytes) -> Awaitable[str]: ...


class Sender:
    """Sends the lines of one job, each batch under a key that its place in the input fixes."""

    def __init__(self, gateway: Submits, job: str, agent: str, options: dict[str, Any], accept: Accept) -> None:
        """`accept` is called with each batch as soon as it is accepted."""
        self._gateway = gateway
        self._job = job
        self._agent = agent
        self._options = options
        self._accept = accept

    async def send(self, items: Items) -> tuple[list[Batch], list[Bad]]:
        """The batches that these lines have become, in the order of the lines, and those lines that are none's."""
        key = f"job-{self._job}-{items[0][0]}-{items[-1][0]}" if items else ""
        bad: list[Bad] = []
        while items:
            try:
                id = await self._gateway.submit(key, body(self._agent, [text for _, text in items], self._options))
            except Refusal as refusal:
                self._check(refusal.document, items)
                named = culprits(refusal.document, len(items))
                if not named:
                    batches, more = await self._in_halves(items, refusal.document)
                    return batches, [*bad, *more]
                bad += [Bad(items[place][0], error) for place, error in sorted(named.items())]
                items = [item for place, item in enumerate(items) if place not in named]
            else:
                batch = Batch(id, tuple(line for line, _ in items))
                self._accept(batch)
                return [batch], bad
        return [], bad

    async def _in_halves(self, items: Items, document: dict[str, Any]) -> tuple[list[Batch], list[Bad]]:
        if len(items) == 1:
            return [], [Bad(items[0][0], alone(document))]
        middle = len(items) // 2
        first, second = await self.send(items[:middle]), await self.send(items[middle:])
        return first[0] + second[0], first[1] + second[1]

    def _check(self, document: dict[str, Any], items: Items) -> None:
        """Raises JobStopped where no line is the cause."""
        if document.get("type") == "/problems/conflict":
            raise JobStopped(
                f"lines {items[0][0]} to {items[-1][0]} were accepted before, and the agent would now take others of "
                "them: run the job with the agent it began with, or choose another OUT"
            )
        if not concerns_lines(document):
            raise JobStopped(words(document))
