"""What a tick hands over of the claims that it has granted: as much as may travel in one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agents.journal import StepId, StepRecord

from .bundles import Claims
from .claims import Claim, Held, SignalSent
from .frames import LARGEST
from .pages import size, whole
from .store import Past, Store
from .task import Ref

ROOM = LARGEST // 8 * 7  # bytes of inputs and pasts; the rest of an answer is small

Granted = Mapping[str, list[Claim]]  # by worker


class Handed(NamedTuple):
    """What becomes of the claims that were granted."""

    claims: dict[str, tuple[Claim, ...]]
    back: list[Held]  # there was no room for them beside the others
    refused: list[Held]  # there is room for them in no answer


async def read_pasts(store: Store, granted: Granted) -> Mapping[Ref, Past]:
    """Those of tasks that ran before, or were sent signals before they did, as far as there is room for them."""
    refs = [claim.task.ref for claims in granted.values() for claim in claims if _has_past(claim)]
    return await store.pasts(refs, ROOM) if refs else {}


def held(claim: Claim) -> Held:
    return claim.task.tenant, claim.task.id, claim.task.fence


def hand_over(granted: Granted, pasts: Mapping[Ref, Past]) -> Handed:
    """Let claims carry what there is of their tasks. Of `pasts` those are missing for which there was no room."""
    handed, left = Handed({}, [], []), ROOM
    for worker, claims in granted.items():
        carried = []
        for claim in claims:
            past = pasts.get(claim.task.ref)
            missing = past is None and _has_past(claim)
            needed = size(claim.task.input) + (whole(past) if past else 0)
            if needed > ROOM or (past and past.large):
                handed.refused.append(held(claim))
            elif missing or needed > left:
                handed.back.append(held(claim))
            else:
                left -= needed
                carried.append(_with_past(claim, past) if past else claim)
        if carried:
            handed.claims[worker] = Claims(carried)
    return handed


def _has_past(claim: Claim) -> bool:
    return claim.task.fence > 1 or claim.task.events > 0 or claim.task.signals > 0


def _with_past(claim: Claim, past: Past) -> Claim:
    return claim._replace(
        journal=tuple(StepRecord(StepId(row.name, row.key), row.digest, row.value) for row in past.steps),
        emitted=past.emitted,
        started=past.started,
        signals=tuple(SignalSent(row.number, row.name, row.payload) for row in past.signals),
    )
