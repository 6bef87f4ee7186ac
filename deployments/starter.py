"""The actor that brings ledger and pool to a cluster whose applications Serve was told of: once they run, and once.

A cluster that replaces another thereby takes the store at about the moment when callers are led to it, and one whose
applications fail never does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus

from agents import RubatoError
from agents.catalog import Catalog
from cluster.actors import HEAD
from cluster.equipment import equip
from cluster.fleet import START_SECONDS
from cluster.places import on_server
from cluster.remote import LEDGER, NAMESPACE

from . import background, foreground, leaving
from .admitting import ADMIN_KEY, HOW, admit, check_text
from .carrying import on_nodes
from .codemark import code_mark, python_path
from .settings import Settings, load
from .state import Running, StateFolder
from .up import load_agents

NAME = "starter"
STATE = "RUBATO_STATE"
PAUSE = 1.0  # seconds between two looks at the applications, and before another try

log = logging.getLogger("rubato.starter")


class Unfit(RubatoError):
    """The head's settings or environment cannot carry a ledger; `args` has a sentence for each thing that is wrong."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))


class Plan(NamedTuple):
    """What is to be started: by which settings, and whether everybody may ask as long as there are no keys."""

    file: str
    opens: bool


def begin(file: str, *, opens: bool) -> None:
    """See that the head can carry ledger and pool, and that somebody starts them there. Raises Unfit, SettingsProblem.

    What may pass by itself, a database that is not there yet, is waited for by the actor.
    """
    plan = Plan(file, opens)
    ray.get(_check.options(**HEAD).remote(plan), timeout=START_SECONDS)
    actor = ray.remote(Starter).options(
        name=NAME, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, max_restarts=-1, num_cpus=0, **HEAD
    )
    actor.remote(plan)


def check_place(settings: Settings, env: Mapping[str, str], *, opens: bool) -> None:
    """Raises Unfit where a cluster of which any node may be lost could not keep what it accepts, or let nobody in."""
    wrong = []
    if not on_server(settings.store.url):
        wrong.append("the store must be a PostgreSQL: let the head's environment name it as RUBATO_STORE_URL")
    if settings.store.takeover != "when_ready":
        wrong.append('[store] takeover must be "when_ready": this cluster takes the store from whichever has it')
    if not settings.artifacts.url:
        wrong.append("[artifacts] url must name a folder that every node mounts, or a URL that each of them reaches")
    if STATE not in env:
        wrong.append(f"{STATE} must name a folder that every node can write to, for what tasks log")
    given = env.get(ADMIN_KEY, "").strip()
    if not given and not opens:
        wrong.append(f"{ADMIN_KEY} must be in the head's environment, or nobody could get in; make it with  {HOW}")
    if wrong:
        raise Unfit(*wrong)
    if given:
        check_text(given)


def start_missing(plan: Plan) -> None:
    """Returns when ledger and pool run. One that runs already is left alone: what is started here is a new generation,
    and would take the store from it."""
    settings, state = load(Path(plan.file), os.environ, {}), StateFolder(Path(os.environ[STATE]))
    equipment = on_nodes(settings.runtime)
    equip(equipment)
    catalog = load_agents({name: table.agent for name, table in settings.agents.items()})
    cluster = state.make()
    if LEDGER not in leaving.found():
        wait_for_applications()
        store = background.take_store(state, settings.store.url)
        background.start_ledger(store, catalog, settings.retention, settings.artifacts.url, node="")
    admit(background.ask_ledger, os.environ.get(ADMIN_KEY, "").strip(), opens=plan.opens)
    staff = background.Staff(code_mark(python_path()), equipment)
    background.start_pool(catalog, settings.pool, settings.artifacts.url, state.logs, staff)
    state.remember(_record(cluster, settings, catalog, state))


def _record(cluster: str, settings: Settings, catalog: Catalog, state: StateFolder) -> Running:
    """What `status` goes by, on this node."""
    return Running(
        cluster=cluster,
        url=foreground.start(settings.serve.host, settings.serve.port),
        address=ray.get_runtime_context().gcs_address,
        logs=str(state.logs),
        store=settings.store.url,
        agents={entry.name: entry.reference for entry in catalog.values()},
        settings=settings.model_dump(exclude={"agents"}),
        since=time.time(),
    )


def wait_for_applications() -> None:
    """Returns when every application that Serve has been told of runs, as a RayService waits for before it is ready."""
    told: dict[str, str] = {}
    while True:
        states = {name: each.status for name, each in serve.status().applications.items()}
        waiting = {name: str(status) for name, status in states.items() if status != ApplicationStatus.RUNNING}
        if states and not waiting:
            return
        if waiting != told:
            log.warning("the store is not taken yet: %s", waiting or "there are no applications")
            told = waiting
        time.sleep(PAUSE)


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def _check(plan: Plan) -> None:
    check_place(load(Path(plan.file), os.environ, {}), os.environ, opens=plan.opens)


class Starter:
    """Tries until ledger and pool run, and is no more then."""

    def __init__(self, plan: Plan) -> None:
        self._running = asyncio.get_running_loop().create_task(self._live(plan))

    async def pid(self) -> int:
        """This process. (An actor needs a coroutine to have an event loop.)"""
        return os.getpid()

    async def _live(self, plan: Plan) -> None:
        while True:
            try:
                await asyncio.to_thread(start_missing, plan)
                break
            except Exception:  # whatever it is: nobody else would try again
                log.exception("ledger and pool could not be started; next try in %.0f s", PAUSE)
                await asyncio.sleep(PAUSE)
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
