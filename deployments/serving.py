"""The applications that Ray Serve runs: one per agent, and the gateway."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, HTTPOptions
from ray.serve.schema import ApplicationStatus, LoggingConfig
from starlette.types import ASGIApp

from agents import Realtime, RubatoError
from agents.artifacts import artifact_store
from agents.catalog import Entry, load
from agents.errors import NotLoadable
from cluster.collecting import collect_rarely
from cluster.equipment import Equipment, equip
from cluster.remote import RemoteLedger, RemoteLink
from cluster.shapes import ray_options

from . import drain, servestate
from .guard import Guard, replica_needs
from .handles import Handles
from .raymetrics import RayMeasures
from .replica import INPUT_LIMIT, Links, Replica
from .scaling import Scaling
from .shortcut import Shortcut
from .subagents import SubAsk
from .verifier import Verifier
from .warming import ready
from .wire import speak

UNLIMITED = 100_000  # requests at once per replica: we shed load ourselves, with a problem that says so
START_ATTEMPTS = 2
TENANTS = 1000  # whose artifact stores a replica keeps at hand
NOT_LOADABLE = f"{NotLoadable.__module__}.{NotLoadable.__qualname__}: "
SECONDS_TO_DEPLOY = 300.0
SURGE_PERCENT = 25  # of the replicas, and at least one: so many new ones start before old ones stop
SECONDS_TO_TELL = 0.5  # between two reports of a replica
SECONDS_TO_LOOK_BACK = 2.0  # what a replica has to do is averaged over these

Started = Callable[..., Awaitable[ASGIApp]]


class NotDeployed(RubatoError):
    """Some applications do not run. By application, `reasons` says why in a line and `details` at length."""

    def __init__(self, details: Mapping[str, str]) -> None:
        super().__init__(dict(details))
        self.details = dict(details)
        self.reasons = {name: _last_line(detail) for name, detail in details.items()}

    def __str__(self) -> str:
        return "\n".join(f"{name}: {reason}" for name, reason in self.reasons.items())


class Host:
    """What Serve constructs in each replica: the application is built there, never pickled."""

    def __init__(self, start: Started, *arguments: Any) -> None:
        self._shortcut = Shortcut()
        speak(self._shortcut)
        self._start = start
        self._arguments = arguments

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        self._app = await self._start(*self._arguments)
        self._shortcut.open(self._app, servestate.counting())
        leave = getattr(self._app, "leave", None)
        if leave is not None:
            self._watch = asyncio.get_running_loop().create_task(drain.watch(leave))
        return self._app

    async def sub(self, asked: tuple[Any, ...]) -> tuple[Any, ...]:
        """A run of another agent asks this one."""
        replica: Any = self._app
        return tuple(await replica.sub(SubAsk(*asked)))

    async def leave_run(self, task_id: str) -> None:
        """The run that asked goes on in the background, and what it asked with it."""
        replica: Any = self._app
        replica.leave_run(task_id)

    def check_health(self) -> None:
        check = getattr(self._app, "check_health", None)
        if check is not None:
            check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve hands to the policy that scales the application; nothing of one that is not scaled."""
        load = getattr(self._app, "load", None)
        return {} if load is None else load._asdict()


class ReplicaPlan(NamedTuple):
    """Which agent a replica is of, where artifacts are, how large an input may be, whether everybody may ask as long as
    there are no keys, and what the agent needs."""

    reference: str
    artifacts_url: str
    limit: int = INPUT_LIMIT
    opens: bool = False
    equipment: Equipment = Equipment()


async def start_replica(plan: ReplicaPlan) -> ASGIApp:
    """The application of one agent, ready: loaded by name, set up and warmed up. Raises NotEquipped, NotLoadable."""
    equip(plan.equipment)
    entry, ledger = load(plan.reference), RemoteLedger()
    artifacts = lru_cache(TENANTS)(partial(artifact_store, plan.artifacts_url))
    links = Links(ledger, RemoteLink(), Handles(), RayMeasures(entry.name))
    app = Replica(entry, await ready(entry), _realtime(entry), artifacts, links, plan.limit)
    collect_rarely()
    return Guard(app, Verifier(ledger.keys_since, opens=plan.opens), replica_needs)


def build(entry: Entry, plan: ReplicaPlan, runtime_env: Mapping[str, Any] | None = None) -> serve.Application:
    """The Serve application of an agent."""
    policy = _realtime(entry)
    deployment = _deployment(
        name=entry.name,
        ray_actor_options=_with_env(ray_options(policy.resources), runtime_env),
        graceful_shutdown_timeout_s=policy.deadline + 10,  # every run is over by then
        **_scale(policy),
    )
    return deployment.bind(start_replica, plan)


def build_gateway(
    start: Started, *arguments: Any, replicas: int = 1, runtime_env: Mapping[str, Any] | None = None
) -> serve.Application:
    """The Serve application of the gateway: `await start(*arguments)` builds it inside each replica.

    `start` must be a function of a module, and the arguments records: both are pickled.
    """
    deployment = _deployment(
        name="gateway", num_replicas=replicas, ray_actor_options=_with_env({"num_cpus": 0}, runtime_env)
    )
    return deployment.bind(start, *arguments)


def start_serve(host: str, port: int) -> None:
    """Start Serve on the connected cluster; it listens on `host` and `port`. One that runs already is left as it is."""
    with _quiet():
        serve.start(
            proxy_location="EveryNode",
            http_options=HTTPOptions(host=host, port=port),
            logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
        )


def deploy(
    gateway: serve.Application | None,
    agents: Mapping[str, serve.Application],
    *,
    seconds: float = SECONDS_TO_DEPLOY,
    tell: Callable[[str], None] = lambda name: None,
) -> None:
    """Returns once the gateway and every agent run, all started together; `tell` hears of each that does.

    Raises NotDeployed with the reason of each that cannot start, or has not within `seconds`.
    """
    targets = [serve.RunTarget(app, f"agent-{name}", f"/v1/agents/{name}") for name, app in agents.items()]
    if gateway is not None:
        targets.append(serve.RunTarget(gateway, "gateway", "/"))
    with _quiet():
        serve.run_many(targets, wait_for_applications_running=False)
        _wait({target.name for target in targets}, time.monotonic() + seconds, tell)


def _deployment(**options: Any) -> serve.Deployment:
    return serve.deployment(
        serve.ingress()(Host),
        max_ongoing_requests=UNLIMITED,
        max_constructor_retry_count=START_ATTEMPTS,
        max_surge_percent=SURGE_PERCENT,
        graceful_shutdown_wait_loop_s=0.5,
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
        **options,
    )


def _realtime(entry: Entry) -> Realtime:
    if entry.agent.realtime is None:
        raise NotLoadable(entry.reference, "it has no realtime policy")
    return entry.agent.realtime


def _scale(policy: Realtime) -> dict[str, Any]:
    if policy.min_replicas == policy.max_replicas:
        return {"num_replicas": policy.min_replicas}
    scaling = AutoscalingPolicy(policy_function=Scaling, policy_kwargs={"slots": policy.slots})
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=policy.min_replicas,
            max_replicas=policy.max_replicas,
            policy=scaling,
            metrics_interval_s=SECONDS_TO_TELL,
            look_back_period_s=SECONDS_TO_LOOK_BACK,
            upscale_delay_s=0,  # when to go up and down is the policy's own
            downscale_delay_s=0,
        )
    }


def _with_env(options: dict[str, Any], runtime_env: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**options, "runtime_env": dict(runtime_env)} if runtime_env else options


def _wait(names: set[str], until: float, tell: Callable[[str], None]) -> None:
    """Returns when all run. Raises NotDeployed once each has either started or failed, or at the end of the time."""
    waiting = set(names)
    failed: dict[str, str] = {}
    while waiting:
        statuses = serve.status().applications
        for name in sorted(waiting & statuses.keys()):
            status = statuses[name]
            if status.status == ApplicationStatus.RUNNING:
                tell(name)
                waiting.discard(name)
            elif status.status == ApplicationStatus.DEPLOY_FAILED:
                reasons = [status.message, *(deployment.message for deployment in status.deployments.values())]
                failed[name] = "\n".join(dict.fromkeys(filter(None, reasons)))
                waiting.discard(name)
        if waiting and time.monotonic() > until:
            failed.update(dict.fromkeys(waiting, "it had not started when the time for it was over"))
            break
        time.sleep(0.1)
    if failed:
        raise NotDeployed(failed)


def _last_line(detail: str) -> str:
    """Of a traceback its last line is the reason."""
    lines = detail.strip().splitlines() or ["it says no reason"]
    return lines[-1].removeprefix(NOT_LOADABLE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from the terminal what Serve says about starting; errors are raised, not only said."""
    logger = logging.getLogger("ray.serve")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
