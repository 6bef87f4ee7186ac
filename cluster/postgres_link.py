"""How a PostgreSQL is reached: within set times or not at all, and what it means when it is not."""

from __future__ import annotations

import asyncio
import math
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg

from .errors import StoreProblem, Unavailable
from .places import without_password

CONNECT = 5.0  # seconds, unless the URL has another `connect_timeout`
STATEMENT = 30.0  # seconds that the server works on one statement, unless the URL has another `statement_timeout`
MARGIN = 5.0  # seconds later we stop to wait for its answer
SILENCE = 15  # seconds after which a peer that acknowledges nothing is gone
PAUSE = 0.25  # seconds without a try to connect after one that failed

# Nobody waits for ever on the server's side either: not for us to go on, not for a network that is gone.
_SETTINGS = {
    "application_name": "rubato",
    "jit": "off",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
}
# A statement is planned once, perhaps while its tables are empty, and must still be right with millions of rows.
BY_INDEX = {
    "plan_cache_mode": "force_generic_plan",
    **dict.fromkeys(
        ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort"), "off"
    ),
}
BY_FILTER = {"plan_cache_mode": "force_custom_plan"}  # for lists, whose best way depends on what is asked

_FINAL = (  # what trying again does not mend
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.exceptions.ClientConfigurationError,
    ValueError,
)
TROUBLES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, read: what the driver gets of it, and what is ours."""

    url: str
    shown: str  # as anybody may see it
    connect: float
    statement: float
    settings: Mapping[str, str]
    forgetful: bool  # the operator said fsync=off: what was accepted may be lost with the server's machine

    @property
    def patience(self) -> float:
        """Seconds until an answer must be there."""
        return self.statement + MARGIN


def read_url(where: str) -> Address:
    """The address that a URL gives. Raises StoreProblem where one of its parameters does not hold."""
    url = urlsplit(where)
    given = dict(parse_qsl(url.query, keep_blank_values=True))
    connect = _seconds("connect_timeout", given.pop("connect_timeout", f"{CONNECT}s"), "s")
    statement = _seconds("statement_timeout", given.pop("statement_timeout", f"{STATEMENT}s"), "ms")
    forgetful = given.pop("fsync", "on") == "off"
    given.setdefault("target_session_attrs", "read-write")  # of several hosts, the one that is the primary
    settings = {name: value for name, value in _SETTINGS.items() if name not in given}
    settings["statement_timeout"] = settings["idle_in_transaction_session_timeout"] = f"{int(statement * 1000)}"
    rest = urlencode(given, quote_via=quote)
    driver_url = url._replace(query=rest).geturl()
    return Address(driver_url, without_password(where), connect, statement, settings, forgetful)


def _seconds(name: str, text: str, unit: str) -> float:
    """As PostgreSQL writes times: a number of `unit`, or one with its unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|min)?", text)
    seconds = float(found[1]) * {"ms": 0.001, "s": 1.0, "min": 60.0}[found[2] or unit] if found else 0.0
    if seconds <= 0:
        raise StoreProblem(f"{name}={text} in the store's URL is not a time, such as 5s; it may not be without end")
    return seconds


class Connector:
    """Makes connections of one kind. For a moment after a try that failed nobody waits for another."""

    def __init__(self, address: Address, settings: Mapping[str, str]) -> None:
        self._address = address
        self._settings = {**address.settings, **settings}
        self._failed = ("", -math.inf)  # why, and when
        self.closed = False

    async def connect(self) -> Any:
        """A connection. Raises StoreProblem where another try would not help, else Unavailable."""
        why, at = self._failed
        if self.closed or time.monotonic() < at + PAUSE:
            raise Unavailable(why)
        try:
            return await self._connect()
        except Unavailable as error:
            self._failed = str(error), time.monotonic()
            raise

    def close(self) -> None:
        """Make no more."""
        self.closed, self._failed = True, ("the store is closed", 0.0)

    async def _connect(self) -> Any:
        try:
            async with asyncio.timeout(self._address.connect):
                connection = await asyncpg.connect(
                    self._address.url,
                    timeout=self._address.connect + 1,  # ours comes first
                    server_settings=self._settings,
                    max_cached_statement_lifetime=0,
                    max_cacheable_statement_size=0,
                )
        except _FINAL as error:
            raise StoreProblem(sentence(error)) from None
        except TROUBLES as error:
            raise away(self._address, error) from None
        _notice_silence(connection)
        return connection


def away(address: Address, error: BaseException) -> Unavailable:
    """What a caller is told."""
    return Unavailable(f"the store does not answer ({address.shown}: {sentence(error)})")


def sentence(error: BaseException) -> str:
    """What an error says, without the values that it quotes."""
    if isinstance(error, asyncpg.DataError):
        return "a value that it cannot hold"
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error).partition("\n")[0] or type(error).__name__


def is_lost(connection: Any, error: BaseException) -> bool:
    """Whether the connection is of no use any more, and nobody knows what became of the statement."""
    fatal = getattr(error, "severity_en", None) in ("FATAL", "PANIC")
    return fatal or not isinstance(error, asyncpg.PostgresError) or connection.is_closed()


def _notice_silence(connection: Any) -> None:
    """Have the system notice a peer that has vanished, while we wait and while we do not."""
    peer = connection._transport.get_extra_info("socket")
    if peer is None or peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": SILENCE * 1000}
    for name, value in options.items():
        if hasattr(socket, name):  # not every system has all of them
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
