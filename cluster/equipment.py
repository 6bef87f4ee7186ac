"""What a process must have before it may load agents: their environment, their secrets, and what pip installed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import site
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import NamedTuple

from agents import RubatoError

from . import raylocal

SITE = "rubato_site"  # the folder with what pip installed, carried as a module that nobody imports
PERSON = b"rubato secrets"  # no other use of the token makes the same key


class NotEquipped(RubatoError):
    """This process must not load agents; the message says what is missing, and never a value."""


class Equipment(NamedTuple):
    """The environment of agents. Of secrets there are the names, and in `sealed` their values, which only processes of
    the cluster can read; where that is empty the node's own environment has them."""

    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    sealed: bytes = b""


def equip(equipment: Equipment) -> None:
    """Make all of it this process's own, before any module of the user's is imported. Raises NotEquipped."""
    os.environ.update(equipment.env)
    if equipment.sealed:
        os.environ.update(unseal(equipment.sealed, raylocal.token()))
    missing = [name for name in equipment.secrets if name not in os.environ]
    if missing:
        raise NotEquipped(f"[runtime] secrets names {', '.join(missing)}, which this node's environment has not")
    found = importlib.util.find_spec(SITE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        site.addsitedir(folder)  # behind all others: what Rubato itself runs with stays what it is


def seal(values: Mapping[str, str], token: str) -> bytes:
    """These values, to be read only by who has the token."""
    from cryptography.fernet import Fernet  # few processes have anything sealed

    return Fernet(_key(token)).encrypt(json.dumps(dict(values)).encode())


def unseal(sealed: bytes, token: str) -> dict[str, str]:
    """What was sealed. Raises NotEquipped where the token is another one."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        values: dict[str, str] = json.loads(Fernet(_key(token)).decrypt(sealed))
    except InvalidToken:
        raise NotEquipped("the secrets were sealed with another token than this node has for its cluster") from None
    return values


def _key(token: str) -> bytes:
    return urlsafe_b64encode(hashlib.blake2b(token.encode(), digest_size=32, person=PERSON).digest())
