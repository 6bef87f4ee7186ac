"""Who is let in from the start: on loopback everybody as long as there are no keys, elsewhere the operator's key."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from agents import RubatoError
from agents.ids import new_id
from cluster.apikeys import OPERATOR, SCOPES, ApiKey, digest_of, id_of, new_text
from cluster.client import Keys
from cluster.errors import Conflict

ADMIN_KEY = "RUBATO_ADMIN_KEY"
Ask = Callable[..., Any]  # of a method of the ledger and its arguments

HOW = 'echo "rbt_$(openssl rand -hex 16)_$(openssl rand -hex 32)"'


class NoAdmission(RubatoError):
    """The operator's key that `up` was given cannot be one; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What an `up` has found, or made: is it open to everybody, and the text of a key that was made now, if one was."""

    open: bool
    made: str = field(default="", repr=False)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on this address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check_text(text: str) -> None:
    """Raises NoAdmission where this cannot be the text of a key: a word that somebody thought of is guessed in no
    time from what is stored of it."""
    if id_of(text) is None:
        raise NoAdmission(f"{ADMIN_KEY} does not have the form of a key; make one with  {HOW}")


def admit(ask: Ask, given: str, *, opens: bool) -> Admission:
    """See that the operator has a key where one is needed. `ask` asks the ledger, `given` is the text of a key ('':
    none). Raises NoAdmission."""
    known: Keys = ask("keys_since", "")
    text = given or (new_text(new_id()) if is_missing(known, time.time(), opens=opens) else "")
    if text:
        try:
            kept: ApiKey = ask("add_key", operators(text, named=bool(given)))
        except Conflict as error:
            raise NoAdmission(f"{ADMIN_KEY} cannot be taken: {error}") from None
        if not kept.usable(time.time()):
            raise NoAdmission(f"{ADMIN_KEY} lets nobody in: key {kept.id} was revoked; make another with  {HOW}")
    return Admission(open=opens and not known.made and not text, made="" if given else text)


def is_missing(known: Keys, now: float, *, opens: bool) -> bool:
    """Whether nobody could get in and make keys."""
    if opens and not known.made:
        return False
    return not any(key.operator and key.usable(now) for key in known.keys)


def operators(text: str, *, named: bool) -> ApiKey:
    """The record of the operator's key."""
    id = id_of(text)
    assert id is not None, "check_text lets no other pass"
    name = ADMIN_KEY if named else "made by ./rubato up"
    return ApiKey(OPERATOR, id, name, " ".join(SCOPES), digest_of(text.encode()), 0.0)
