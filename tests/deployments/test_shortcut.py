"""Which requests take the short way past Serve, and what Serve is told of them."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.servestate import Counting, counting, draining
from deployments.shortcut import Shortcut


class Serve:
    """Counts as Serve does."""

    def __init__(self) -> None:
        self.ongoing = 0

    def change(self, by: int) -> None:
        self.ongoing += by

    def counting(self, prefix: str) -> Counting:
        return Counting(prefix, lambda: self.change(1), lambda: self.change(-1))


class App:
    """Keeps what it was asked, and how many requests there were then."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.seen: list[tuple[str, int]] = []
        self.breaks = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append((scope["root_path"], self.serve.ongoing))
        if self.breaks:
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b""})


def asked(path: str, root: str = "", *headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "path": path, "root_path": root, "headers": list(headers)}


async def nothing() -> Message:
    raise AssertionError


def test_it_leads_nowhere_before_the_application_is_there() -> None:
    assert not Shortcut().leads(asked("/v1/agents/echo"))


def test_it_leads_nowhere_where_requests_cannot_be_counted(caplog: pytest.LogCaptureFixture) -> None:
    shortcut = Shortcut()

    shortcut.open(App(Serve()), None)

    assert not shortcut.leads(asked("/v1/agents/echo"))
    assert "the long way" in caplog.text


@pytest.mark.parametrize(
    ("prefix", "path", "root", "leads"),
    [
        ("/v1/agents/echo", "/v1/agents/echo", "", True),
        ("/v1/agents/echo", "/v1/agents/echo/run", "", True),
        ("/v1/agents/echo", "/v1/agents/echoes/run", "", False),
        ("/v1/agents/echo", "/v1/agents", "", False),
        ("/v1/agents/echo", "/-/healthz", "", False),
        ("", "/v1/tasks", "", True),
        ("", "/", "", True),
        ("", "/-/routes", "", False),
        ("", "/v1/tasks", "/mounted", False),
    ],
)
def test_it_leads_to_what_is_the_applications(prefix: str, path: str, root: str, leads: bool) -> None:
    serve = Serve()
    shortcut = Shortcut()

    shortcut.open(App(serve), serve.counting(prefix))

    assert shortcut.leads(asked(path, root)) is leads


@pytest.mark.parametrize("breaks", [False, True])
async def test_serve_knows_of_each_request_until_it_is_over(breaks: bool) -> None:
    serve = Serve()
    app, shortcut = App(serve), Shortcut()
    app.breaks = breaks
    shortcut.open(app, serve.counting("/v1/agents/echo"))

    async def send(message: Message) -> None:
        return

    try:
        await shortcut(asked("/v1/agents/echo/run"), nothing, send)
    except RuntimeError:
        assert breaks

    assert app.seen == [("/v1/agents/echo", 1)]
    assert serve.ongoing == 0


async def test_a_request_that_has_an_id_is_answered_with_it() -> None:
    serve = Serve()
    shortcut = Shortcut()
    shortcut.open(App(serve), serve.counting(""))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await shortcut(asked("/", "", (b"x-request-id", b"mine")), nothing, send)
    await shortcut(asked("/"), nothing, send)

    heads = [message["headers"] for message in sent if message["type"] == "http.response.start"]
    assert heads == [[(b"a", b"b"), (b"x-request-id", b"mine")], [(b"a", b"b")]]


def test_no_replica_is_in_a_process_that_serve_did_not_start() -> None:
    assert counting() is None
    assert draining() is None
