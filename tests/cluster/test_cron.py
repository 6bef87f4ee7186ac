"""Which moments a cron line names, wherever clocks are set forward and back."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.cron import check_line, following, latest, times, zones

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(local: str, zone: str = "UTC") -> float:
    """The moment that a local time with its offset, or of that zone, is."""
    moment = datetime.fromisoformat(local)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()


def shown(line: str, zone: str, after: str, count: int) -> list[str]:
    """The next times, as the zone's clocks show them."""
    found = itertools.islice(times(line, zone, at(after, zone)), count)
    return [datetime.fromtimestamp(moment, ZoneInfo(zone)).isoformat(timespec="minutes") for moment in found]


@pytest.mark.parametrize(
    ("line", "zone", "after", "expected"),
    [
        ("30 7 * * 1-5", "UTC", "2026-01-02T07:30", ["2026-01-05T07:30+00:00", "2026-01-06T07:30+00:00"]),
        ("0 0 1 * *", "UTC", "2026-01-01T00:00", ["2026-02-01T00:00+00:00", "2026-03-01T00:00+00:00"]),
        ("0 0 L * *", "UTC", "2026-02-01T00:00", ["2026-02-28T00:00+00:00", "2026-03-31T00:00+00:00"]),
        ("0 9 * JAN MON#1", "UTC", "2026-01-01T00:00", ["2026-01-05T09:00+00:00", "2027-01-04T09:00+00:00"]),
        ("@monthly", BERLIN, "2026-03-02T00:00", ["2026-04-01T00:00+02:00", "2026-05-01T00:00+02:00"]),
        # a leap day, and the century that has none
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"]),
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00", ["2104-02-29T00:00+00:00", "2108-02-29T00:00+00:00"]),
        # 2:00 becomes 3:00: what lies between is at 3:00, once
        ("30 2 * * *", BERLIN, "2026-03-28T03:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("30 2 * * *", NEW_YORK, "2026-03-07T03:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
        ("*/15 2 * * *", BERLIN, "2026-03-28T03:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
        ("0,30 2,3 * * *", BERLIN, "2026-03-29T01:00", ["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"]),
        ("30 2 * * *", BERLIN, "2026-03-29T03:00", ["2026-03-30T02:30+02:00"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03T03:00", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
        ("30 0 * * *", "America/Havana", "2026-03-07T01:00", ["2026-03-08T01:00-04:00", "2026-03-09T00:30-04:00"]),
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T09:00", ["2011-12-31T00:00+14:00", "2011-12-31T09:00+14:00"]),
        # 3:00 becomes 2:00: what is shown twice is at the first
        ("30 2 * * *", BERLIN, "2026-10-24T03:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("30 1 * * *", NEW_YORK, "2026-10-31T02:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        ("*/30 2 * * *", BERLIN, "2026-10-25T02:30+02:00", ["2026-10-26T02:00+01:00"]),
        ("30 2 * * *", BERLIN, "2026-10-25T02:15+01:00", ["2026-10-26T02:30+01:00"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-04T02:00", ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
        # a line for every hour has all that the clock shows
        ("0 * * * *", BERLIN, "2026-03-29T00:59", ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]),
        ("0 0-23 * * *", BERLIN, "2026-03-29T00:59", ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]),
        ("0 * * * *", BERLIN, "2026-10-25T01:59", ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]),
        ("@hourly", NEW_YORK, "2026-11-01T00:59", ["2026-11-01T01:00-04:00", "2026-11-01T01:00-05:00"]),
        ("30 * * * *", BERLIN, "2026-10-25T02:15+01:00", ["2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00"]),
        ("15 * * * *", LORD_HOWE, "2026-10-04T01:00", ["2026-10-04T01:15+10:30", "2026-10-04T03:15+11:00"]),
        (
            "*/15 * * * *",
            LORD_HOWE,
            "2026-04-05T01:45+11:00",
            ["2026-04-05T01:30+10:30", "2026-04-05T01:45+10:30", "2026-04-05T02:00+10:30"],
        ),
        ("0 * 1 1 *", BERLIN, "2026-06-01T00:00", ["2027-01-01T00:00+01:00", "2027-01-01T01:00+01:00"]),
    ],
)
def test_a_line_has_these_times(line: str, zone: str, after: str, expected: list[str]) -> None:
    assert shown(line, zone, after, len(expected)) == expected


def test_a_time_is_after_the_moment_however_little() -> None:
    noon = at("2026-01-01T12:00")

    assert following("0 12 * * *", "UTC", noon - 0.001) == noon
    assert following("0 12 * * *", "UTC", noon) == noon + 86400
    assert following("0 12 * * *", "UTC", noon + 0.001) == noon + 86400


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "write minute, hour"),
        ("* * * *", "write minute, hour"),
        ("0 * * * * *", "write minute, hour"),
        ("@reboot", "write minute, hour"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * mon-", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("٣ * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 31 4,6,9,11 *", "bad day-of-month"),
        ("0 0 31 2 */2", "bad day-of-month"),
        ("0" * 300, "at most 255 characters"),
    ],
)
def test_a_line_that_cannot_fire_is_refused_with_a_sentence(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_line(line)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(st.lists(st.text("0123456789*/,-#LW moNFEB", min_size=1, max_size=8), min_size=4, max_size=6))
def test_whatever_the_line_it_is_refused_in_a_sentence_or_fires(fields: list[str]) -> None:
    line = " ".join(fields)
    try:
        check_line(line)
    except ValueError:
        return
    assert following(line, BERLIN, at("2026-01-01T00:00")) is not None


LINES = st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 */5 * * *", "*/20 1-3 * 3,10 0", "15 * * 10 *", "0 0 29 2 *"])


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(LINES, st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, "Asia/Kathmandu"]), st.floats(1.5e9, 1.8e9), st.data())
def test_times_grow_and_the_clock_shows_each_or_has_just_leapt(
    line: str, zone: str, start: float, data: st.DataObject
) -> None:
    found = list(itertools.islice(times(line, zone, start), 60))
    fields = line.split()

    assert all(one < two for one, two in itertools.pairwise([start, *found]))
    for moment in found:
        wall = datetime.fromtimestamp(moment, ZoneInfo(zone))
        just_before = (datetime.fromtimestamp(moment - 1, UTC)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        leapt = wall.replace(tzinfo=None) - just_before != timedelta(seconds=1)
        minutes = {"*/7": range(0, 60, 7), "*/20": range(0, 60, 20)}.get(fields[0], [int(fields[0].strip("*/") or 0)])
        assert leapt or wall.minute in minutes
    middle = data.draw(st.integers(0, len(found) - 1))
    assert following(line, zone, found[middle] - 1) == found[middle]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(LINES, st.sampled_from([BERLIN, LORD_HOWE]), st.floats(1.5e9, 1.8e9), st.integers(1, 200), st.floats(0, 1))
def test_the_latest_is_found_without_going_through_all(
    line: str, zone: str, start: float, count: int, part: float
) -> None:
    found = list(itertools.islice(times(line, zone, start), count + 1))
    now = found[-2] + (found[-1] - found[-2]) * part * 0.999

    assert latest(line, zone, found[0], now) == found[-2]


def test_the_zones_are_those_of_the_database() -> None:
    assert {"UTC", BERLIN, NEW_YORK, LORD_HOWE} < zones()
    assert not {"", "Europe", "localtime", "../etc/passwd", "europe/berlin"} & zones()
