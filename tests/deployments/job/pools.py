"""A pool that keeps what a gateway keeps, decides what the test decides, and may be watched at every call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from deployments.gateway.fragments import elements, member
from deployments.job.book import Book, FileBook, Start
from deployments.job.chunks import chunks
from deployments.job.errors import Away, Refusal
from deployments.job.flow import Flow, Manner
from deployments.job.gateway import Counts
from deployments.job.journal import Batch, Header
from deployments.job.lines import read_lines, survey
from deployments.job.progress import Progress
from deployments.job.records import Record

Answer = TypeVar("Answer")
ID = "0192f6c1-0000-7000-8000-000000000000"


class Hushed:
    """A listener that only remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.last: Progress | None = None

    def progress(self, progress: Progress) -> None:
        self.last = progress

    def note(self, text: str) -> None:
        self.notes.append(text)

    def ended(self, end: str, code: int, progress: Progress, text: str) -> None:
        self.notes.append(text)


class Pool:
    """Accepts whatever is `{"n": number}`; a task ends at once unless `held` says that its number does not."""

    def __init__(self, held: Callable[[int], bool] = lambda n: False) -> None:
        self.held = held
        self.batches: dict[str, list[int]] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.canceled: set[str] = set()
        self.taken_up: list[str] = []
        self.breaks = 0  # how many streams of results still break off in the middle
        self.seen: Callable[[str], None] = lambda event: None

    @property
    def accepted(self) -> list[int]:
        return sorted(number for numbers in self.batches.values() for number in numbers)

    async def submit(self, key: str, body: bytes) -> str:
        self.seen(f"submit {key}")
        texts = list(elements(member(body.decode(), "inputs")))
        wrong = [place for place, text in enumerate(texts) if not self._fits(text)]
        if wrong:
            errors = [f"inputs.{place}: n: Field required" for place in wrong][:2]  # never all at once
            raise Refusal(
                {"type": "/problems/invalid-input", "title": "It does not fit", "detail": "", "errors": errors}
            )
        digest = hashlib.sha256(body).hexdigest()
        id, before = self.keys.setdefault(key, (f"{ID[:-6]}{len(self.keys):06d}", digest))
        if before != digest:
            raise Refusal({"type": "/problems/conflict", "title": "Conflict", "detail": "another body"})
        self.batches.setdefault(id, [json.loads(text)["n"] for text in texts])
        self.seen(f"submitted {key}")
        return id

    async def counts(self, batch: str) -> Counts:
        self.seen("counts")
        numbers = self.batches[batch]
        return Counts(sum(not self.held(n) for n in numbers), len(numbers))

    async def results(self, batch: str) -> AsyncGenerator[str]:
        numbers = self.batches[batch]
        for place, n in enumerate(numbers):
            self.seen(f"result {n}")
            if self.breaks and place >= len(numbers) // 2:
                self.breaks -= 1
                raise Away("the results broke off")
            yield self._result(n)

    async def cancel(self, batch: str) -> None:
        self.canceled.add(batch)

    async def take_up(self, batch: str) -> None:
        self.canceled.discard(batch)
        self.taken_up.append(batch)

    async def again(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        while True:
            try:
                return await attempt()
            except Away:
                continue

    def _fits(self, text: str) -> bool:
        given = json.loads(text)
        return isinstance(given, dict) and isinstance(given.get("n"), int)

    def _result(self, n: int) -> str:
        if self.held(n):
            return f'{{"id":"{ID}","state":"running","output":null,"error":null}}'
        if n % 10 == 7:
            return f'{{"id":"{ID}","state":"failed","output":null,"error":{{"type":"permanent","title":"{n}"}}}}'
        return f'{{"id":"{ID}","state":"completed","output":{{"n":{n}.0}},"error":null}}'


class Watched:
    """A book that says what it is about to do."""

    def __init__(self, book: Book, seen: Callable[[str], None]) -> None:
        self._book = book
        self._seen = seen

    def open(self, asked: Header) -> Start:
        return self._book.open(asked)

    def accepted(self, batch: Batch) -> None:
        self._seen("accepted")
        self._book.accepted(batch)

    def canceled(self, *, so: bool) -> None:
        self._book.canceled(so=so)

    def write(self, record: Record) -> None:
        self._seen("write")
        self._book.write(record)

    def settle(self) -> None:
        self._seen("settle")
        self._book.settle()
        self._seen("settled")

    def close(self, *, whole: bool) -> None:
        self._book.close(whole=whole)


class Job:
    """A job over files in a folder."""

    def __init__(self, folder: Path, *, order: str = "input", batch: int = 5, id: str = "j1", **options: Any) -> None:
        self.folder = folder
        self.input, self.out, self.errors = (folder / name for name in ("in.jsonl", "out.jsonl", "out.errors.jsonl"))
        self.order = order
        self.batch = batch
        self.id = id
        self.options = options

    @property
    def header(self) -> Header:
        with self.input.open("rb") as file:
            return Header(self.id, "shop", survey(file), self.order, self.options, self.batch)

    @contextmanager
    def flow(self, pool: Pool, *, watched: bool = False, **manner: Any) -> Iterator[Flow]:
        book: Book = FileBook(str(self.out), in_order=self.order == "input", clock=lambda: 0.0)
        if watched:
            book = Watched(book, lambda event: pool.seen(event))
        whole = False
        try:
            start = book.open(self.header)
            yield Flow(pool, book, start, Manner(self.order == "input", **manner), Hushed())
            whole = True
        finally:
            book.close(whole=whole)

    async def run(self, pool: Pool, *, watched: bool = False, **manner: Any) -> Flow:
        with self.flow(pool, watched=watched, **manner) as flow, self.input.open("rb") as file:
            await flow.run(chunks(read_lines(file), self.batch))
        return flow

    def outputs(self) -> list[dict[str, Any]]:
        return read(self.out)

    def failures(self) -> list[dict[str, Any]]:
        return read(self.errors)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
