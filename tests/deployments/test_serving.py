"""That an agent's realtime policy is what Serve is asked for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve import Deployment

from agents import Realtime, Resources
from agents.catalog import Entry, load
from agents.errors import NotLoadable
from deployments.live import Load
from deployments.scaling import Scaling
from deployments.serving import Host, NotDeployed, ReplicaPlan, build, build_gateway

from .acting import Act, start_greeting


def entry(realtime: Realtime | None) -> Entry:
    agent = type("Declared", (Act,), {"realtime": realtime})
    return replace(load("tests.deployments.acting:Act"), agent=agent)


def deployed(realtime: Realtime | None) -> Deployment:
    plan = ReplicaPlan("tests:Agent", "/tmp/artifacts")
    return build(entry(realtime), plan, {"env_vars": {"A": "1"}})._bound_deployment


def test_a_replica_takes_no_logical_cpu_unless_asked() -> None:
    assert deployed(Realtime()).ray_actor_options == {"num_cpus": 0, "runtime_env": {"env_vars": {"A": "1"}}}
    assert build_gateway(start_greeting, "hi")._bound_deployment.ray_actor_options == {"num_cpus": 0}


def test_a_replica_takes_what_its_policy_says() -> None:
    options = deployed(Realtime(resources=Resources(cpus=0.5, gpus=1, memory=2**30))).ray_actor_options

    assert {**options, "runtime_env": None} == {
        "num_cpus": 0.5,
        "num_gpus": 1,
        "memory": 2**30,
        "runtime_env": None,
    }


@pytest.mark.slow
def test_there_are_as_many_replicas_as_the_policy_says() -> None:
    fixed = deployed(Realtime(min_replicas=2, max_replicas=2))
    elastic = deployed(Realtime(min_replicas=1, max_replicas=3))._deployment_config.autoscaling_config

    assert fixed.num_replicas == 2
    assert fixed._deployment_config.autoscaling_config is None
    assert (elastic.min_replicas, elastic.max_replicas) == (1, 3)


def test_how_many_there_are_is_decided_by_our_own_policy_without_delay() -> None:
    elastic = deployed(Realtime(slots=5, max_replicas=3))._deployment_config.autoscaling_config

    assert elastic.policy.get_policy().__name__ == Scaling.__name__
    assert elastic.policy.policy_kwargs == {"slots": 5}
    assert (elastic.upscale_delay_s, elastic.downscale_delay_s, elastic.get_upscaling_factor()) == (0, 0, 1)
    assert elastic.metrics_interval_s <= 0.5 < elastic.look_back_period_s <= 2


async def test_a_replica_tells_the_policy_what_it_has_to_do() -> None:
    async def start_agent() -> Any:
        return SimpleNamespace(load=Load(running=3, waiting=1, service=0.5, arrived=9))

    agent, gateway = Host(start_agent), Host(start_greeting, "hi")
    for host in (agent, gateway):
        await host.__serve_build_asgi_app__()

    assert await agent.record_autoscaling_stats() == {"running": 3, "waiting": 1, "service": 0.5, "arrived": 9}
    assert await gateway.record_autoscaling_stats() == {}


def test_a_new_version_starts_before_the_old_one_stops() -> None:
    for deployment in (deployed(Realtime()), build_gateway(start_greeting, "hi")._bound_deployment):
        assert deployment._deployment_config.max_surge_percent > 0


def test_serve_turns_nobody_away_and_lets_every_run_end() -> None:
    act = deployed(Realtime(deadline=60))

    assert act.name == "act"
    assert act.max_ongoing_requests >= 100_000
    assert act.max_queued_requests == -1
    assert act._deployment_config.graceful_shutdown_timeout_s > 60


def test_an_agent_without_a_realtime_policy_is_not_built() -> None:
    with pytest.raises(NotLoadable, match="no realtime policy"):
        deployed(None)


def test_the_reason_is_the_last_line_of_what_serve_says() -> None:
    told = 'Failed.\nTraceback:\n  File "x"\nagents.errors.NotLoadable: shop:Till: its setup() raised KeyError: 1\n'

    error = NotDeployed({"agent-till": told, "agent-other": "it had not started"})

    assert error.reasons["agent-till"] == "shop:Till: its setup() raised KeyError: 1"
    assert error.details["agent-till"] == told
    assert str(error).splitlines()[1] == "agent-other: it had not started"
