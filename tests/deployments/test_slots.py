"""That no more run at once than there are slots, that the line is first come first served, and that no slot is lost."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from deployments.slots import Slots


async def test_whoever_comes_first_is_served_first() -> None:
    slots, order = Slots(1), []
    assert slots.take()

    async def visit(who: int) -> None:
        await slots.wait()
        order.append(who)
        slots.give_back()

    visits = [asyncio.create_task(visit(who)) for who in range(3)]
    await asyncio.sleep(0)
    assert (slots.take(), slots.waiting, order) == (False, 3, [])
    slots.give_back()
    await asyncio.gather(*visits)

    assert (order, slots.free, slots.waiting) == ([0, 1, 2], 1, 0)


async def test_whoever_leaves_the_line_takes_nothing_along() -> None:
    slots = Slots(1)
    slots.take()
    first, second = asyncio.create_task(slots.wait()), asyncio.create_task(slots.wait())
    await asyncio.sleep(0)

    slots.give_back()  # to the first, who leaves before it knows
    first.cancel()
    await asyncio.wait([first])
    await second

    assert first.cancelled()
    assert (slots.free, slots.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_no_slot_is_lost_or_given_twice(seed: int) -> None:
    roll, slots, inside = Random(seed), Slots(3), 0

    async def visit() -> None:
        nonlocal inside
        await slots.wait()
        inside += 1
        assert inside <= 3
        try:
            for _ in range(roll.randrange(4)):
                await asyncio.sleep(0)
        finally:
            inside -= 1
            slots.give_back()

    visits = [asyncio.create_task(visit()) for _ in range(50)]
    while any(not visit.done() for visit in visits):
        roll.choice(visits).cancel() if roll.random() < 0.3 else None
        await asyncio.sleep(0)

    assert (inside, slots.free, slots.waiting) == (0, 3, 0)
