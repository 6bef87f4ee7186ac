"""What a limit key may use at once, and how fast: rules, and whether they admit one more task."""

from __future__ import annotations

import math
from typing import NamedTuple

from .task import AGENT_KEY


class Rule(NamedTuple):
    """The limits of one key of a tenant; None is no limit. `arrival` is the state of the rate."""

    tenant: str
    key: str
    concurrency: int | None = None  # tasks running at once
    rate_count: int | None = None  # claims ...
    rate_seconds: float | None = None  # ... in so many seconds
    weight: float = 1.0  # of its turns, against those of other keys
    paused_until: float | None = None
    arrival: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether all is as it would be without it."""
        return self.plain and self.weight == 1.0

    @property
    def plain(self) -> bool:
        """Whether it limits nothing, so that it need not be looked at."""
        return self.concurrency is None and self.rate_count is None and self.paused_until is None


class Hold(NamedTuple):
    """Why a key may not start a task now, and when that may change by itself (inf: not by itself)."""

    reason: str  # paused, rate or concurrency
    until: float = math.inf


def agent_key(agent: str) -> tuple[str, str]:
    """Where the rule for all tasks of an agent stands: (tenant, key)."""
    return "", f"{AGENT_KEY}{agent}"


def hold(rule: Rule, running: int, now: float) -> Hold | None:
    """What keeps the key from starting one more task now, None if nothing does.

    The rate is the generic cell rate algorithm (ITU-T I.371): `rate_count` at once, then one every
    rate_seconds / rate_count.
    """
    if rule.paused_until is not None and now < rule.paused_until:
        return Hold("paused", rule.paused_until)
    if rule.concurrency is not None and running >= rule.concurrency:
        return Hold("concurrency")
    if rule.rate_count is not None and rule.rate_seconds is not None:
        if rule.rate_count == 0:
            return Hold("rate")
        arrival = _arrival(rule.arrival, rule.rate_count, rule.rate_seconds, now)
        free = arrival - rule.rate_seconds * (1 - 1 / rule.rate_count)
        if now < free:
            return Hold("rate", free)
    return None


def spent(rule: Rule, now: float) -> Rule:
    """The rule after one more task has started."""
    if not rule.rate_count or rule.rate_seconds is None:
        return rule
    arrival = _arrival(rule.arrival, rule.rate_count, rule.rate_seconds, now)
    return rule._replace(arrival=max(arrival, now) + rule.rate_seconds / rule.rate_count)


def _arrival(stored: float, count: int, seconds: float, now: float) -> float:
    """The state of the rate. One that lies further ahead than its starts can have brought it is of a slower rule, or of
    a clock that was set back since: then it is as if the rate were all but used up."""
    each = seconds / count
    return stored if stored <= now + seconds + each else now + seconds - 2 * each
