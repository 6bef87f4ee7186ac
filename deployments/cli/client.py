"""Rubato over HTTP, as the commands use it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from deployments.job.lines import Splitter

from .errors import NotReachable, ProblemAnswer, UsageProblem
from .inputs import media_type, read_file
from .options import state_folder

if TYPE_CHECKING:
    import httpx

KEY = "RUBATO_KEY"
PAGE = 200  # items that a list brings at once
WAIT = 60  # seconds that one request waits for a task to end


class SentEvent(NamedTuple):
    """One event of a stream, with its number where it has one."""

    id: str
    type: str
    data: Any


class Client:
    """One connection to one Rubato."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """It calls with this key, by default with the one in RUBATO_KEY, if there is one."""
        self.url = url.rstrip("/")
        key = key_of(os.environ) if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        patience = _httpx().Timeout(WAIT + 30.0, connect=5.0)
        self._http = _httpx().Client(base_url=self.url, timeout=patience, headers=headers)

    def ask(self, method: str, path: str, *, wait: int | None = None, **content: Any) -> Any:
        """The JSON of a good answer, None of one without content. Raises ProblemAnswer for any other, NotReachable
        where none came."""
        headers = {**content.pop("headers", {}), **({} if wait is None else {"Prefer": f"wait={wait}"})}
        with self._reaching():
            answer = self._http.request(method, path, headers=headers, **content)
        if answer.is_error:
            raise ProblemAnswer(_document(answer))
        return answer.json() if answer.content else None

    def all(self, path: str) -> list[dict[str, Any]]:
        """The items of a list, page by page. Raises as `ask` does."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.ask("GET", path, params={"limit": PAGE, **cursor})
            found += page["items"]
            if not page["next_cursor"]:
                return found
            cursor = {"cursor": page["next_cursor"]}

    def lines(self, path: str) -> list[dict[str, Any]]:
        """The JSON values of an answer that holds one on each line. Raises as `ask` does."""
        with self._reaching():
            answer = self._http.get(path)
        if answer.is_error:
            raise ProblemAnswer(_document(answer))
        return [json.loads(line) for line in lines([answer.content])]

    def stream(self, method: str, path: str, **content: Any) -> Iterator[SentEvent]:
        """The events of an event stream, one by one. Raises as `ask` does, also when the stream breaks off."""
        headers = {**content.pop("headers", {}), "Accept": "text/event-stream"}
        with self._reaching(), self._http.stream(method, path, headers=headers, **content) as answer:
            if answer.is_error:
                answer.read()
                raise ProblemAnswer(_document(answer))
            yield from events(lines(answer.iter_bytes()))

    def upload(self, path: Path) -> dict[str, Any]:
        """Keep a file as an artifact and return the reference to it."""
        headers = {"Content-Type": media_type(path)}
        reference = self.ask("PUT", "/v1/artifacts", content=read_file(path), headers=headers)
        return {**reference, "name": path.name}

    def ended(self, task_id: str) -> dict[str, Any]:
        """The task, once it has ended."""
        while True:
            task: dict[str, Any] = self.ask("GET", f"/v1/tasks/{task_id}", wait=WAIT)
            if task["state"] in ("completed", "failed", "canceled"):
                return task

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except _httpx().ConnectError:
            raise NotReachable(f"nothing answers at {self.url}; start it with `./rubato up`") from None
        except _httpx().TransportError as error:
            raise NotReachable(f"{self.url} broke off: {error or type(error).__name__}; ask again") from None


def key_of(env: Mapping[str, str]) -> str:
    """The key to call with, '' for none. Raises UsageProblem for what cannot be sent."""
    key = env.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageProblem(f"{KEY} holds something that cannot be a key")
    return key


def hint(env: Mapping[str, str]) -> str:
    """What to do where Rubato asks for a key."""
    if env.get(KEY):
        return f"that is what it says of the key in {KEY}; ask for another, or make one with `./rubato keys create`"
    return f"the commands call with the key in {KEY}, which is not set: export {KEY}=rbt_..."


def connect(url: str, state: Path) -> Client:
    """The Rubato at `url`, else the one that `up` started with this state folder."""
    if url:
        return Client(url)
    running = state_folder(state).running()
    if running is None:
        raise NotReachable(f"Rubato is not up (state folder {state}); start it with `./rubato up`")
    return Client(running.url)


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text that comes in pieces. They end at \\n alone: to Python and httpx U+2028 is an end too, and it
    may stand in any JSON."""
    splitter = Splitter(sys.maxsize)
    for piece in pieces:
        yield from (line.text.decode() for line in splitter.feed(piece))
    yield from (line.text.decode() for line in splitter.end())


def events(lines: Iterator[str]) -> Iterator[SentEvent]:
    """The events that these lines of an event stream hold; comments are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield SentEvent(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}


def _document(answer: httpx.Response) -> dict[str, Any]:
    """The problem document of a bad answer, made up from its status where Serve or a proxy answered in its own way."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if isinstance(document, dict) and "title" in document:
        return document
    text = answer.text.strip()[:300]
    return {"title": answer.reason_phrase, "status": answer.status_code, "detail": text}


def _httpx() -> Any:
    # Its own command line would be imported with it, and take longer than all the rest.
    sys.modules.setdefault("httpx._main", cast(Any, None))
    import httpx

    return httpx
