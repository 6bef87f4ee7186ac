"""What a shape of workers is called, and how Ray is asked for it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import Resources
from cluster.nodekinds import NodeKind
from cluster.shapes import name_of, ray_options


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (Resources(), "light"),
        (Resources(cpus=1), "cpu1"),
        (Resources(cpus=0.5, gpus=1), "cpu0.5-gpu1"),
        (Resources(memory=2**29), "mem512m"),
        (Resources(memory=2**29 + 1), "mem536870913"),
        (Resources(cpus=2, market="on_demand"), "cpu2-ondemand"),
        (Resources(cpus=1234567), "cpu1234567"),
        (Resources(gpus=1, accelerator="A100", market="spot"), "gpu1-A100-spot-540731fe"),
    ],
)
def test_a_shape_has_a_name_that_can_be_read(shape: Resources, name: str) -> None:
    assert name_of(shape) == name


words = st.sampled_from(["a", "b", "spot", "A100"])
shapes = st.builds(
    Resources,
    cpus=st.sampled_from([0, 1, 1.0, 0.1, 1.0001, 1000001]),
    gpus=st.sampled_from([0, 0.5, 1]),
    memory=st.sampled_from([0, 1, 2**20, 2**20 + 1, 2**21]),
    accelerator=st.sampled_from(["", "A100", "A100-spot", "spot"]),
    custom=st.dictionaries(words, st.sampled_from([1, 1.0, 2, 0.5]), max_size=2),
    labels=st.dictionaries(words, words, max_size=2),
    market=st.sampled_from(["any", "spot", "on_demand"]),
)


@pytest.mark.slow
@given(shapes, shapes)
def test_two_shapes_share_a_name_only_where_they_are_one(one: Resources, two: Resources) -> None:
    assert (name_of(one) == name_of(two)) == (one == two)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name_of(one))


def test_ray_is_asked_for_all_of_it() -> None:
    shape = Resources(
        cpus=1, gpus=0.5, memory=10, accelerator="A100", custom={"licence": 1}, labels={"zone": "!a"}, market="spot"
    )

    assert ray_options(Resources()) == {"num_cpus": 0}
    assert ray_options(shape) == {
        "num_cpus": 1,
        "num_gpus": 0.5,
        "memory": 10,
        "resources": {"licence": 1},
        "label_selector": {"zone": "!a", "ray.io/accelerator-type": "A100", "ray.io/market-type": "spot"},
    }


def test_a_worker_can_be_sent_to_one_kind_of_node() -> None:
    zone = NodeKind("spot-b", {"CPU": 4}, {"ray.io/market-type": "spot", "zone": "b"})

    assert ray_options(Resources(cpus=1), zone) == {
        "num_cpus": 1,
        "label_selector": {"ray.io/market-type": "spot", "zone": "b"},
    }


def test_rays_own_checks_take_every_option() -> None:
    from ray._common.ray_option_utils import validate_actor_options

    shape = Resources(1, 0.5, 10, "A100", {"licence": 1}, {"zone": "!in(a, b)"}, "on_demand")

    validate_actor_options(ray_options(shape), in_options=True)
