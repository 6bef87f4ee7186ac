"""Keys are checked against those last read: at once, by nobody's leave, and never for longer than they are good."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from agents.ids import new_id
from cluster.apikeys import ApiKey, digest_of, new_text
from cluster.client import Keys
from cluster.errors import Unavailable
from deployments.access import ANYBODY, Caller
from deployments.problems import Refused
from deployments.verifier import Verifier

EVERY_SCOPE = "run submit admin"


class Source:
    """What a ledger would tell, and the clock of the process that asks it."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.keys: dict[str, ApiKey] = {}
        self.version = 0
        self.away = False
        self.asked = 0

    def make(self, tenant: str = "", scopes: str = EVERY_SCOPE, **changes: Any) -> str:
        """The text of a new key."""
        id = new_id()
        text = new_text(id)
        self.keys[text] = ApiKey(tenant, id, "", scopes, digest_of(text.encode()), self.time)._replace(**changes)
        self.version += 1
        return text

    def revoke(self, text: str) -> None:
        self.keys[text] = self.keys[text]._replace(revoked_at=self.time)
        self.version += 1

    async def read(self, version: str) -> Keys | None:
        self.asked += 1
        if self.away:
            raise Unavailable("the ledger is down")
        if version == f"v{self.version}":
            return None
        keys = tuple(key for key in self.keys.values() if key.revoked_at is None)
        return Keys(f"v{self.version}", keys, bool(self.keys))

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)

    def verifier(self, *, opens: bool = False) -> Verifier:
        return Verifier(self.read, opens=opens, now=lambda: self.time, sleep=self.sleep)


@pytest.fixture
def source() -> Source:
    return Source()


def sent(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"here"), (b"authorization", f"Bearer {text}".encode())]


def refused(verifier: Verifier, headers: list[tuple[bytes, bytes]]) -> tuple[int, dict[str, str], str]:
    with pytest.raises(Refused) as raised:
        verifier.check(headers)
    problem = raised.value.problem
    return problem.status, dict(problem.headers), problem.detail


async def test_a_key_says_who_calls_and_how_far_they_may_go(source: Source) -> None:
    text = source.make("acme", "run submit")
    verifier = source.verifier()
    await verifier.look()

    assert verifier.check(sent(text)) == Caller("acme", frozenset(["run", "submit"]), source.keys[text].id)
    assert verifier.check([(b"authorization", b"bearer  " + text.encode() + b" ")]).tenant == "acme"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer wrong")],
        [(b"authorization", b"Basic dXNlcjpwYXNz")],
        [(b"authorization", b"Bearer " + b"x" * 100_000)],
        [(b"authorization", b"Bearer \xff\x00\xfe")],
        [(b"x-api-key", b"KEY")],
        [(b"authorization", b"KEY")],
        [(b"authorization", b"Bearer KEY"), (b"authorization", b"Bearer KEY")],
        [(b"authorization", b"Bearer KEY, Bearer KEY")],
        [(b"authorization", b"Bearer SHORT")],
        [(b"authorization", b"Bearer DIGEST")],
        [(b"authorization", b"Bearer ID")],
    ],
)
async def test_whatever_is_not_one_good_key_is_a_401(source: Source, headers: list[tuple[bytes, bytes]]) -> None:
    text = source.make()
    verifier = source.verifier()
    await verifier.look()
    words = {"KEY": text, "SHORT": text[:-1], "DIGEST": source.keys[text].digest, "ID": source.keys[text].id}
    for word, value in words.items():
        headers = [(name, old.replace(word.encode(), value.encode())) for name, old in headers]

    status, answered, detail = refused(verifier, headers)

    assert status == 401
    assert answered["WWW-Authenticate"].startswith('Bearer realm="rubato"')
    assert text not in detail


async def test_a_key_is_good_until_the_moment_it_expires(source: Source) -> None:
    text = source.make(expires_at=source.time + 10)
    verifier = source.verifier()
    await verifier.look()
    source.time += 9.9
    assert verifier.check(sent(text)).key == source.keys[text].id

    source.time += 0.1

    assert refused(verifier, sent(text))[0] == 401


async def test_a_revoked_key_lets_nobody_in_after_five_seconds(source: Source) -> None:
    text, other = source.make(), source.make()
    verifier = source.verifier()
    running = asyncio.create_task(verifier.run())
    await verifier.known(5)
    verifier.check(sent(text))

    source.revoke(text)
    revoked_at = source.time
    while True:
        try:
            verifier.check(sent(text))
        except Refused:
            break
        await asyncio.sleep(0)

    assert 0 < source.time - revoked_at <= 5
    assert verifier.check(sent(other))
    running.cancel()


async def test_a_look_that_hangs_puts_off_a_revocation_by_no_more_than_that(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.verifier.PATIENCE", 0.01)
    waits: list[float] = []
    hangs = True

    async def read(version: str) -> Keys | None:
        nonlocal hangs
        if version and hangs:
            hangs = False
            await asyncio.Event().wait()
        return await source.read(version)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    text = source.make()
    verifier = Verifier(read, opens=False, sleep=sleep)
    running = asyncio.create_task(verifier.run())
    await verifier.known(5)
    source.revoke(text)
    while len(waits) < 3:
        await asyncio.sleep(0.001)

    assert refused(verifier, sent(text))[0] == 401
    assert waits[:2] == [2.0, 0.5]  # with the look that hung for two seconds this is below five
    running.cancel()


async def test_while_the_ledger_is_down_the_keys_last_read_stay_good(source: Source) -> None:
    text = source.make()
    verifier = source.verifier()
    running = asyncio.create_task(verifier.run())
    await verifier.known(5)

    source.away = True
    asked = source.asked
    while source.asked < asked + 100:
        await asyncio.sleep(0)
        assert verifier.check(sent(text)).key == source.keys[text].id

    assert refused(verifier, sent("wrong"))[0] == 401
    running.cancel()


@pytest.mark.parametrize("opens", [True, False])
async def test_who_has_read_no_key_yet_can_say_nothing_of_any(source: Source, opens: bool) -> None:
    text = source.make()
    source.away = True
    verifier = source.verifier(opens=opens)
    running = asyncio.create_task(verifier.run())
    await asyncio.sleep(0)

    status, headers, _ = refused(verifier, sent(text))

    assert (status, headers["Retry-After"]) == (503, "2")
    assert not await verifier.known(0.01)
    source.away = False
    assert await verifier.known(5)
    assert verifier.check(sent(text)).key == source.keys[text].id
    running.cancel()


async def test_without_keys_everybody_may_do_everything_only_where_that_was_said(source: Source) -> None:
    open, closed = source.verifier(opens=True), source.verifier()
    await open.look()
    await closed.look()

    assert open.check([]) == open.check(sent("whatever")) == ANYBODY
    assert refused(closed, [])[0] == 401


async def test_the_first_key_closes_the_door_and_its_revocation_does_not_open_it(source: Source) -> None:
    verifier = source.verifier(opens=True)
    await verifier.look()
    assert verifier.check([]) == ANYBODY

    text = source.make()
    await verifier.look()
    assert refused(verifier, [])[0] == 401
    source.revoke(text)
    await verifier.look()

    assert refused(verifier, [])[0] == 401
    assert refused(verifier, sent(text))[0] == 401


async def test_who_was_let_in_stays_no_longer_than_the_key_is_good(source: Source) -> None:
    verifier = source.verifier(opens=True)
    await verifier.look()
    anybody = verifier.check([])
    assert verifier.is_good(anybody)

    lasting, ending, going = source.make(), source.make(expires_at=source.time + 5), source.make()
    await verifier.look()
    callers = [verifier.check(sent(text)) for text in (lasting, ending, going)]
    assert [verifier.is_good(caller) for caller in (anybody, *callers)] == [False, True, True, True]
    source.revoke(going)
    source.time += 5
    await verifier.look()

    assert [verifier.is_good(caller) for caller in callers] == [True, False, False]


async def test_a_key_is_used_no_more_often_than_its_rate_says(source: Source) -> None:
    text, other = source.make(rate_count=2, rate_seconds=10.0), source.make()
    verifier = source.verifier()
    await verifier.look()
    verifier.check(sent(text))
    verifier.check(sent(text))

    status, headers, _ = refused(verifier, sent(text))

    assert (status, headers["Retry-After"]) == (429, "5")
    assert verifier.check(sent(other))
    source.time += 5
    verifier.check(sent(text))
    assert refused(verifier, sent(text))[0] == 429


async def test_keys_that_are_read_again_have_used_what_they_have_used(source: Source) -> None:
    text = source.make(rate_count=1, rate_seconds=60.0)
    verifier = source.verifier()
    await verifier.look()
    verifier.check(sent(text))
    source.make()

    await verifier.look()

    assert refused(verifier, sent(text))[0] == 429


async def test_no_key_is_ever_logged(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    text = source.make(expires_at=source.time)
    verifier = source.verifier()
    running = asyncio.create_task(verifier.run())
    await verifier.known(5)
    for headers in (sent(text), sent(text + "x"), [*sent(text), *sent(text)]):
        refused(verifier, headers)
    source.away = True
    asked = source.asked
    while source.asked < asked + 3:
        await asyncio.sleep(0)

    assert "stay good" in caplog.text
    assert text not in caplog.text
    assert source.keys[text].digest not in caplog.text
    running.cancel()
