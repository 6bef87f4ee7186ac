"""The moments that a cron line names, by the clocks of a time zone.

A line that names hours goes by the wall: a time that its clock leaps over is the first moment after the leap, and one
that it shows twice is the first of the two. A line for every hour goes on through both: its times are all those that
the clock shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = 5  # minute, hour, day of the month, month, day of the week
LONGEST = 255  # characters of a line
HOURS = set(range(24))
EPOCH = datetime(1970, 1, 1)
NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def check_line(line: str) -> None:
    """Raises ValueError, whose sentence says what is wrong, for a line that cannot fire."""
    if len(line) > LONGEST:
        raise ValueError(f"must be a cron line of at most {LONGEST} characters")
    fields = _fields(line)
    if len(fields) != FIELDS:
        raise ValueError(f"{line[:60]!r} is no cron line: {_FORM}")
    try:
        found = next(CronSim(" ".join(fields), EPOCH), None)
    except CronSimError as error:
        raise ValueError(f"{line[:60]!r} is no cron line that can fire: {str(error).lower()}; {_FORM}") from None
    if found is None:
        raise ValueError(f"{line[:60]!r} is no cron line that can fire: it has no time in 50 years")


@cache
def zones() -> frozenset[str]:
    """The names of all time zones."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split())


def following(line: str, zone: str, after: float) -> float | None:
    """The first moment after that one, None if there is none in the next 50 years."""
    return next(times(line, zone, after), None)


def times(line: str, zone: str, after: float) -> Iterator[float]:
    """The moments after that one, in order."""
    place, cron = ZoneInfo(zone), " ".join(_fields(line))
    every_hour = CronSim(cron, EPOCH).hours == HOURS
    return _all_shown(cron, place, after) if every_hour else _by_the_wall(cron, place, after)


def latest(line: str, zone: str, first: float, now: float) -> float:
    """The last moment until now; `first` is one. However many lie between, it looks at a few only."""
    found, late = first, now
    while (after := following(line, zone, found)) is not None and after <= now:
        middle = following(line, zone, (found + late) / 2)
        if middle is not None and middle <= now:
            found = max(after, middle)
        else:
            late = (found + late) / 2
            found = after
    return found


_FORM = "write minute, hour, day of the month, month and day of the week, as in '30 7 * * 1-5'"


def _fields(line: str) -> list[str]:
    return NAMED.get(line.strip().lower(), line).split()


def _by_the_wall(cron: str, place: ZoneInfo, after: float) -> Iterator[float]:
    last = after
    for shown in CronSim(cron, _shown(after, place)):
        moment = _first_shown(shown, place)
        if moment > last:  # else the wall showed it before
            yield moment
            last = moment


def _all_shown(cron: str, place: ZoneInfo, after: float) -> Iterator[float]:
    start, offset, last = _shown(after, place), _offset(after, place), after
    while True:
        for shown in CronSim(cron, start):
            moment = (shown - EPOCH).total_seconds() - offset
            if _offset(moment, place) != offset:
                break
            yield moment
            last = moment
        else:
            return
        old = offset
        turn = _first(lambda at: _offset(at, place) != old, last, moment)  # noqa: B023 - called here only
        start, offset = _shown(turn, place) - timedelta(seconds=1), _offset(turn, place)


def _first_shown(shown: datetime, place: ZoneInfo) -> float:
    """When the wall first shows this; where it never does, the first moment after the leap."""
    moment = shown.replace(tzinfo=place).timestamp()
    if _shown(moment, place) == shown:
        return moment
    before = shown.replace(tzinfo=place, fold=1).timestamp()  # its two readings lie on both sides of the leap
    return _first(lambda at: _shown(at, place) > shown, before, moment)


def _first(condition: Callable[[float], bool], before: float, after: float) -> float:
    """The first whole second that meets the condition, which one of them does and the other does not."""
    low, high = int(before), int(after)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if condition(middle) else (middle, high)
    return float(high)


def _shown(moment: float, place: ZoneInfo) -> datetime:
    """What the clock shows."""
    return datetime.fromtimestamp(moment, place).replace(tzinfo=None, fold=0)


def _offset(moment: float, place: ZoneInfo) -> float:
    offset = datetime.fromtimestamp(moment, place).utcoffset()
    assert offset is not None, "every zone has an offset"
    return offset.total_seconds()
