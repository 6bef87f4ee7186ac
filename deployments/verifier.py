"""Keys checked without asking anybody: against those last read from the ledger, in this process's own memory."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import sha256

from agents import RubatoError
from cluster.apikeys import ApiKey
from cluster.client import Keys
from cluster.limits import Rule, hold, spent

from .access import ANYBODY, Caller
from .problems import Refused, no_access, too_often, unavailable

PERIOD = 2.0  # seconds between two looks whether keys have changed: one that is revoked lets nobody in after 5
PATIENCE = 2.0  # seconds that a look may take ...
AGAIN = 0.5  # ... and until the next, where it brought no answer
LONGEST = 255  # bytes of a header that may be a key
LATEST = 3600.0  # seconds after which at the latest a caller is asked to come again

log = logging.getLogger(__name__)


class _Entry:
    """A key that is known, with the state of its rate in this process."""

    __slots__ = ("caller", "ends", "rate")

    def __init__(self, key: ApiKey, rate: Rule | None) -> None:
        self.caller = Caller(key.tenant, key.allowed, key.id)
        self.ends = math.inf if key.expires_at is None else key.expires_at
        self.rate = rate


class Verifier:
    """Checks keys without asking anybody. `run` reads them again and again; while the ledger does not answer, those
    last read stay good.

    A key is found by the SHA-256 of its text: whoever measures how long that takes learns nothing of any key.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[Keys | None]],
        *,
        opens: bool,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`read` is LedgerClient.keys_since; `opens`: as long as no key was ever made, everybody may do everything."""
        self._read = read
        self._opens = opens
        self._now = now
        self._sleep = sleep
        self._version = ""
        self._entries: dict[bytes, _Entry] = {}
        self._ends: dict[str, float] = {}  # by the id of a key
        self._open = False
        self._known = asyncio.Event()

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Who calls with these headers. Raises Refused: 401 without a good key, 429 for one that is used too often, 503
        where no keys were read yet."""
        if self._open:
            return ANYBODY
        self.demand_keys()
        entry = self._entries.get(sha256(_text(headers)).digest())
        if entry is None:
            raise Refused(no_access("There is no such key: it is wrong, or it was revoked.", "invalid_token"))
        if entry.rate is None and entry.ends == math.inf:
            return entry.caller
        now = self._now()
        if entry.ends <= now:
            raise Refused(no_access("This key has expired; ask for a new one.", "invalid_token"))
        if entry.rate is not None:
            _spend(entry, entry.rate, now)
        return entry.caller

    def demand_keys(self) -> None:
        """Raises Refused (503) where no keys were read yet."""
        if not self._version:
            raise Refused(unavailable("Keys cannot be checked yet: the ledger has not told them.", PERIOD))

    def is_good(self, caller: Caller) -> bool:
        """Whether the caller would be let in now."""
        return self._open or self._now() < self._ends.get(caller.key, 0.0)

    async def run(self) -> None:
        """Read the keys until cancelled."""
        while True:
            pause = AGAIN
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.look()
                pause = PERIOD
            except (RubatoError, TimeoutError) as error:
                log.info("the keys could not be read, and those last read stay good: %s", error or "no answer")
            except Exception:
                log.exception("the keys could not be read, and those last read stay good")
            await self._sleep(pause)

    async def look(self) -> None:
        """Read what has changed, if anything has."""
        found = await self._read(self._version)
        if found is not None:
            rates = {entry.caller.key: entry.rate for entry in self._entries.values() if entry.rate is not None}
            self._entries = {bytes.fromhex(key.digest): _Entry(key, _rate(key, rates)) for key in found.keys}
            self._ends = {entry.caller.key: entry.ends for entry in self._entries.values()}
            self._open = self._opens and not found.made
            self._version = found.version
            self._known.set()

    async def known(self, seconds: float) -> bool:
        """Whether the keys have been read, within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._known.wait()
        except TimeoutError:
            return False
        return True


def _text(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The key in these headers. Raises Refused (401) where there is none, or more than one."""
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        raise Refused(no_access("Send a key, as `Authorization: Bearer KEY`."))
    if len(found) > 1 or found[0][:7].lower() != b"bearer " or len(found[0]) > LONGEST:
        raise Refused(no_access("Send one key, as `Authorization: Bearer KEY`.", "invalid_request"))
    return found[0][7:].strip()


def _rate(key: ApiKey, known: Mapping[str, Rule]) -> Rule | None:
    """The key's rate, which goes on where it was."""
    if key.rate_count is None:
        return None
    old = known.get(key.id)
    rule = Rule(key.tenant, key.id, rate_count=key.rate_count, rate_seconds=key.rate_seconds)
    return rule if old is None else rule._replace(arrival=old.arrival)


def _spend(entry: _Entry, rate: Rule, now: float) -> None:
    """Count one more request. Raises Refused (429) where the rate is used up."""
    held = hold(rate, 0, now)
    if held is not None:
        detail = f"This key may be used {rate.rate_count} times in {rate.rate_seconds:g} s."
        raise Refused(too_often(detail, min(held.until - now, LATEST)))
    entry.rate = spent(rate, now)
