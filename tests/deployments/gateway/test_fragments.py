"""That parts of a JSON document are cut out exactly as they stand in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.gateway.fragments import elements, member

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=6,
)
LAYOUTS: st.SearchStrategy[Any] = st.sampled_from(
    [{}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}, {"ensure_ascii": False}]
)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(value=st.dictionaries(st.text(), JSON, min_size=1), layout=LAYOUTS)
def test_a_member_is_cut_out_whole(value: dict[str, Any], layout: dict[str, Any]) -> None:
    document = f" {json.dumps(value, **layout)}\n"

    for name, expected in value.items():
        text = member(document, name)

        assert text in document
        assert text == text.strip()
        assert json.loads(text) == expected


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(value=st.lists(JSON), layout=LAYOUTS)
def test_elements_are_cut_out_one_by_one(value: list[Any], layout: dict[str, Any]) -> None:
    texts = list(elements(f"\r\n{json.dumps(value, **layout)}\t"))

    assert [json.loads(text) for text in texts] == value


def test_of_members_with_one_name_the_last_counts_as_it_does_for_parsers() -> None:
    assert member('{"a": 1, "b": [], "a": 1.10}', "a") == "1.10"


def test_a_member_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="c"):
        member('{"a": {"c": 1}}', "c")
