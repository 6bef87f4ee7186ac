"""Workers of earlier versions, as the pool has them: they stay for tasks that are to finish with what began them, and
where none is left these tasks go on with the newest."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from .client import Demand
from .errors import Unavailable
from .kinds import Kind
from .lanes import Lane
from .older import Serving, staying, stranded
from .roster import Member, Roster
from .situation import Rules

if TYPE_CHECKING:
    from .pool import Fleet, Losses

log = logging.getLogger("rubato.pool")


class Earlier:
    """One look at all workers after the other; what takes time is done beside it, by `later`."""

    def __init__(
        self,
        roster: Roster,
        fleet: Fleet,
        ledger: Losses,
        rules: Rules,
        later: Callable[[Awaitable[None]], None],
    ) -> None:
        self._roster = roster
        self._fleet = fleet
        self._ledger = ledger
        self._rules = rules
        self._later = later
        self._kept: dict[str, str] = {}  # workers, and why they stay
        self._releasing: set[tuple[str, str]] = set()  # lanes

    def lines(self) -> list[dict[str, object]]:
        """One for each worker that stays, for the pool's status."""
        members = self._roster.members
        return [_line(members[id], why) for id, why in self._kept.items() if id in members]

    def look(self, kinds: Mapping[str, Kind], demands: Collection[Demand], now: float, *, known: bool) -> set[str]:
        """Keep those that their tasks need, and, where the demands are `known` to be those of now, release tasks that
        have none. Whom not to end: those that are kept, and whoever has not said yet what it has."""
        members = list(self._roster.members.values())
        self._tell(members, kinds)
        old = [member for member in members if member.kind not in kinds]
        unsaid = {member.id for member in old if member.may_hold(now) or (member.takes and member.serving is None)}
        most = -1.0 if self._is_cramped(kinds, now) else self._rules.old_versions
        stay = (member.stay(now) for member in old if member.takes and member.serving is not None)
        self._kept = staying(stay, demands, most)
        current = [member for member in members if member.takes and member.kind in kinds]
        if known and not unsaid and all(member.serving is not None for member in current):
            kept = [member for member in old if member.id in self._kept]
            self._release(stranded(demands, kinds.values(), _serving(current), _serving(kept)))
        return unsaid | self._kept.keys()

    def _tell(self, members: Iterable[Member], kinds: Mapping[str, Kind]) -> None:
        """Each worker hears whether there is a newer version, when that is new to it."""
        for member in members:
            old = member.kind not in kinds
            if member.takes and member.old is not old:
                member.old, member.serving = old, None
                self._later(self._ask(member, old=old))

    async def _ask(self, member: Member, *, old: bool) -> None:
        serving = await self._fleet.serve(member.id, old=old)
        if member.old is old:
            member.serving, member.told_at = serving, time.time()

    def _is_cramped(self, kinds: Iterable[str], now: float) -> bool:
        """Whether some kind has no worker at all because no node has room for one: those of now come first."""
        late = self._rules.patience / 2  # after all of it they are asked for anew
        return any(
            not any(member.takes for member in members)
            and any(member.placed_at is None and now - member.asked_at > late for member in members)
            for members in map(self._roster.of, kinds)
        )

    def _release(self, lanes: Iterable[Demand]) -> None:
        for each in lanes:
            lane = each.agent, each.lane
            if lane not in self._releasing:
                self._releasing.add(lane)
                self._later(self._let_go(*lane))

    async def _let_go(self, agent: str, lane: str) -> None:
        why = f"no worker of version {Lane.parse(lane).version} is left"
        try:
            count = await self._ledger.release(agent, lane, why)
        except Unavailable as error:
            log.warning("the ledger is asked again: %s", error)
        else:
            if count:
                log.warning("%d tasks of %s go on with another version than they began with: %s", count, agent, why)
        finally:
            self._releasing.discard((agent, lane))


def _serving(members: Iterable[Member]) -> list[Serving]:
    return [member.serving for member in members if member.serving is not None]


def _line(member: Member, why: str) -> dict[str, object]:
    serving = member.serving or Serving()
    return {
        "kind": f"{member.kind.partition('.')[0]} (earlier)",
        "agents": sorted(serving.versions),
        "wanted": 1,
        "ready": int(member.takes),
        "starting": 0,
        "draining": int(not member.takes),
        "busy": int(member.busy > 0),
        "workers": [member.id],
        "trouble": None,
        "why": [{"market": member.market, "node": member.node_kind, "workers": 1, "reason": why}],
    }
