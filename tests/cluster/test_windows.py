"""In which order a window gives its tasks, however they came."""

from __future__ import annotations

import random

import pytest

from cluster.task import Ref, Task
from cluster.windows import END, Room, Window, key_of

from .making import task


@pytest.mark.parametrize("seed", range(20))
def test_tasks_go_in_the_order_of_their_keys_however_they_come_and_go(seed: int) -> None:
    roll = random.Random(seed)
    window = Window(Room(), Room(), END)
    there: dict[Ref, Task] = {}

    for number in range(400):
        what = roll.random()
        if what < 0.5:  # most come in their order, some before others that are there
            number = number if roll.random() < 0.8 else roll.randrange(400)
            came: Task | None = task(id=f"{number:03}", priority=roll.choice((0, 0, 0, 0, 5, -5)))
        elif what < 0.7 and there:  # changed where it is: what was known of it counts no more
            came = roll.choice(list(there.values())).but(priority=roll.choice((0, 5)))
        else:
            came = None
        if came is not None:
            window.discard(came.ref)
            window.add(came)
            there[came.ref] = came
        elif what < 0.8 and there:
            gone = there.pop(roll.choice(list(there)))
            window.discard(gone.ref)
        elif there:
            first = min(there.values(), key=key_of)
            assert window.head() is first, f"seed {seed}"
            assert window.pop() is there.pop(first.ref)
        assert len(window) == len(there)

    rest = []
    while window.head() is not None:
        rest.append(window.pop())
    assert rest == sorted(there.values(), key=key_of), f"seed {seed}"
