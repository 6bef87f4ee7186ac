"""Dates as written in three languages, and what only looks like one."""

from __future__ import annotations

import pytest

from agents.library.documents.dates import Reading, day_comes_first, find_dates

PLAIN = Reading()


def values(text: str, reading: Reading = PLAIN) -> list[str]:
    return [dated.value for _, _, dated in find_dates(text, reading)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2016-08-24", "2016-08-24"),
        ("2016/08/24", "2016-08-24"),
        ("Expires 01/31/2009.", "2009-01-31"),
        ("14/09/16 20:42", "2016-09-14"),
        ("24.08.2016 21:00", "2016-08-24"),
        ("24.08.201621:00", "2016-08-24"),
        ("24. 08. 2016", "2016-08-24"),
        ("15-10-2015", "2015-10-15"),
        ("01/02/68", "2068-01-02"),
        ("13/02/69", "1969-02-13"),
        ("October 28, 1998", "1998-10-28"),
        ("October 28 , 1998", "1998-10-28"),
        ("(Oct. 28, 1998).", "1998-10-28"),
        ("July\n6, 2007", "2007-07-06"),
        ("Sept 4 2007", "2007-09-04"),
        ("the 4th of July 1863", "1863-07-04"),
        ("28 October 1998", "1998-10-28"),
        ("6-DEC-2007", "2007-12-06"),
        ("2016 JAN 27", "2016-01-27"),
        ("20. August 2016[1]", "2016-08-20"),
        ("1. März 2020", "2020-03-01"),
        ("3. Jänner 2021", "2021-01-03"),
        ("02 Juillet 2015", "2015-07-02"),
        ("le 1er août 1914", "1914-08-01"),
        ("3 février 2022", "2022-02-03"),
        ("December 1998", "1998-12"),
        ("im August 2016", "2016-08"),
        ("08/2016", "2016-08"),
        ("Edition 2004-08", "2004-08"),
        ("JUNE 10TH.—The heat", "--06-10"),
        ("JuNE 12tH", "--06-12"),
        ("year ending December 31.", "--12-31"),
        ("le 14 juillet", "--07-14"),
        ("February 29", "--02-29"),
        ("29 February 2024", "2024-02-29"),
    ],
)
def test_a_date_is_read_as_iso_8601(text: str, value: str) -> None:
    assert values(text) == [value]


@pytest.mark.parametrize(
    "text",
    [
        "you may 1 day march 3 miles",
        "version 4.7.2",
        "section 1.2.99",
        "13.13.2016",
        "February 30, 2016",
        "OMB No. 1545-0074",
        "Pub. L. No. 105-304, 112 Stat. 2860",
        "2830-34",
        "phone 818-708-8131",
        "in 2007 and 2008",
        "school year 2010-11",
        "Internal Revenue Bulletin 1997-10 at",
        "12/345/2016",
        "192.168.10.20",
        "24.08.2016.1",
        "$1.05.2016",
        "May 20% of",
        "Mayor 5, 2007",
        "Marching 3, 2007",
    ],
)
def test_what_only_looks_like_a_date_is_left_alone(text: str) -> None:
    assert values(text) == []


def test_both_ends_of_a_range_have_its_year() -> None:
    assert values("January 1–December 31, 2007") == ["2007-01-01", "2007-12-31"]
    assert values("July 1 - July 31 , 2014") == ["2014-07-01", "2014-07-31"]
    assert values("01.05.14-31.05.14") == ["2014-05-01", "2014-05-31"]


def test_a_range_over_new_year_invents_no_year() -> None:
    assert values("November 1 to January 31, 2008") == ["--11-01", "2008-01-31"]


def test_the_documents_own_order_decides_what_is_ambiguous() -> None:
    assert values("04/05/2016", Reading(day_first=True)) == ["2016-05-04"]
    assert values("04/05/2016", Reading(day_first=False)) == ["2016-04-05"]
    assert values("04.05.2016", Reading(day_first=False)) == ["2016-05-04"]


def test_an_ambiguous_order_lowers_the_certainty() -> None:
    def certainty(text: str, reading: Reading = PLAIN) -> float:
        return next(dated.certainty for _, _, dated in find_dates(text, reading))

    assert certainty("04/05/2016") < certainty("04/05/2016", Reading(day_first=True)) < certainty("24/05/2016")


def test_unambiguous_dates_vote_on_the_order() -> None:
    assert day_comes_first("31/12/2017 and 02/01/2018") > 0
    assert day_comes_first("12/31/2017 and October 28, 1998") < 0
    assert day_comes_first("01/02/2018") == 0


def test_one_wrong_letter_in_a_month_is_forgiven_only_on_a_scan_and_beside_an_ordinal_or_a_year() -> None:
    smudged = Reading(smudged=True)

    assert values("JusE 11th.—Stayed", smudged) == ["--06-11"]
    assert values("0ctober 28, 1998", smudged) == []
    assert values("Octaber 28, 1998", smudged) == ["1998-10-28"]
    assert values("Octaber 28", smudged) == []
    assert values("Jane 5 told", smudged) == []
    assert values("Octaber 28, 1998") == []


def test_each_date_of_a_line_is_found_at_its_place() -> None:
    text = "from July 6, 2007, through September 6, 2007 (3 days)"

    assert [text[start:end] for start, end, _ in find_dates(text)] == ["July 6, 2007", "September 6, 2007"]
