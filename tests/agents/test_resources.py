"""What an author may ask of a node, and what is refused when it is asked."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import Resources
from agents.resources import selects

INF, NAN = float("inf"), float("nan")
FULL = Resources(
    cpus=0.5,
    gpus=0.25,
    memory=2**30,
    accelerator="A100",
    custom={"licence": 2, "disk": 0.5},
    labels={"ray.io/availability-zone": "in(a, b)", "team": "!other"},
    market="spot",
)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"cpus": -1}, "cpus must be a number, not negative and finite"),
        ({"cpus": INF}, "cpus must be a number"),
        ({"cpus": "1"}, "cpus must be a number"),
        ({"cpus": 0.00001}, "cpus must be 0, or 0.0001 at least"),
        ({"gpus": -0.5}, "gpus must be a number"),
        ({"gpus": NAN}, "gpus must be a number"),
        ({"gpus": 1.5}, "gpus must be a part of one, or whole ones"),
        ({"memory": -1}, "memory must be a number"),
        ({"memory": 0.5}, "memory must be whole bytes"),
        ({"accelerator": "an A100"}, "accelerator 'an A100' is not a type"),
        ({"accelerator": None}, "accelerator None is not a type"),
        ({"market": "reserved"}, "market must be one of any, spot, on_demand"),
        ({"custom": ["licence"]}, "custom must be a mapping, such as {'name': 1}"),
        ({"custom": {"licence": 0}}, "custom['licence'] is 0, and must be an amount"),
        ({"custom": {"licence": "1"}}, "custom['licence'] is '1', and must be an amount"),
        ({"custom": {"GPU": 1}}, "custom cannot hold 'GPU', which has a field of its own: gpus"),
        ({"custom": {"node:10.0.0.1": 1}}, "custom cannot hold 'node:10.0.0.1': it is Ray's own"),
        ({"custom": {"": 1}}, "custom cannot hold ''"),
        ({"labels": "zone=a"}, "labels must be a mapping, such as {'name': 'value'}"),
        ({"labels": {"zone": "a b"}}, "labels['zone'] is 'a b', and must be a selector"),
        ({"labels": {"zone": "in()"}}, "labels['zone'] is 'in()', and must be a selector"),
        ({"labels": {"zone": 1}}, "labels['zone'] is 1, and must be a selector"),
        ({"labels": {"a zone": "a"}}, "labels cannot hold 'a zone'"),
        ({"labels": {"ray.io/market-type": "spot"}}, "labels cannot hold 'ray.io/market-type', which has a field"),
        ({"labels": {"ray.io/accelerator-type": "A100"}}, "has a field of its own: accelerator"),
    ],
)
def test_what_no_node_can_have_is_refused_and_says_which_field(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=r"^resources: ") as caught:
        Resources(**fields)

    assert why in str(caught.value)


def test_it_is_a_key_whatever_the_order_of_what_it_holds() -> None:
    other = replace(FULL, custom={"disk": 0.5, "licence": 2})

    assert {FULL: 1}[other] == 1
    assert {FULL, replace(FULL, labels={})} > {FULL}


def test_it_cannot_change() -> None:
    given = {"licence": 1.0}
    shape = Resources(custom=given)
    given["licence"] = 2

    assert shape.custom == {"licence": 1}
    with pytest.raises(TypeError, match="cannot change"):
        shape.custom["licence"] = 3  # type: ignore[index]  # that it is refused is the point
    with pytest.raises(TypeError, match="cannot change"):
        shape.labels.update(zone="a")  # type: ignore[attr-defined]  # likewise


@pytest.mark.parametrize("copied", [lambda it: pickle.loads(pickle.dumps(it)), deepcopy])
def test_it_travels(copied: Any) -> None:
    assert copied(FULL) == FULL
    assert hash(copied(FULL)) == hash(FULL)


def test_it_comes_back_from_json() -> None:
    assert Resources(**json.loads(json.dumps(asdict(FULL)))) == FULL


@pytest.mark.parametrize(
    ("selector", "value", "selected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", None, False),
        ("!a", "b", True),
        ("!a", "a", False),
        ("!a", None, True),
        ("in(a, b)", "b", True),
        ("in(a,b)", "c", False),
        ("in(a,b)", None, False),
        ("!in(a,b)", "a", False),
        ("!in(a,b)", None, True),
    ],
)
def test_a_selector_selects_as_rays_do(selector: str, value: str | None, selected: bool) -> None:
    assert selects(selector, value) is selected
    assert Resources(labels={"zone": selector}).labels == {"zone": selector}


@given(st.floats(0.0001, 1000), st.integers(0, 64) | st.floats(0.0001, 1), st.integers(0, 2**50))
def test_any_amount_that_ray_can_count_may_be_asked_for(cpus: float, gpus: float, memory: int) -> None:
    shape = Resources(cpus=cpus, gpus=gpus, memory=memory)

    assert (shape.cpus, shape.gpus, shape.memory) == (cpus, gpus, memory)
