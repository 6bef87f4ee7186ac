"""`deploy`: what runs becomes what the settings say, with no task lost and no caller turned away.

The ledger and the pool are handed over to the new code, where it, the settings or the agents of theirs are others;
workers of the new kinds start while the old ones finish what they hold; each application that changed gets new
replicas before its old ones leave.
"""

from __future__ import annotations

from dataclasses import replace

from agents import RubatoError
from agents.catalog import Catalog
from cluster import raylocal
from cluster.places import on_server

from . import background, foreground, leaving
from .admitting import is_loopback
from .changes import UNFINISHED, Changes, changes
from .codemark import agent_marks, python_path
from .phases import Phases
from .state import ROOT, Running
from .up import Order, Site, load_agents


class CannotDeploy(RubatoError):
    """The settings cannot be applied to what runs; nothing was changed. The message says why."""


def plan(record: Running, order: Order, phases: Phases) -> tuple[Changes, Catalog]:
    """What has to be done for `record` to become `order`, and its agents. Raises PhaseFailed for one that cannot be
    loaded."""
    with phases.phase("check agents"):
        catalog = load_agents(order.named, order.added)
    return changes(record, order, catalog), catalog


def deploy(record: Running, order: Order, found: Changes, catalog: Catalog, phases: Phases) -> Running:
    """Apply the changes, and return what runs then; done again it finds nothing to do. Raises CannotDeploy, and
    PhaseFailed: what was changed by then stays so, and the next deploy does all of its own, be it the same or back."""
    if found.fixed:
        raise CannotDeploy(f"only `./rubato down` and then `up` can change {'; '.join(found.fixed)}")
    with phases.phase("connect"):
        node = connect(record, order)
        opens = is_loopback(foreground.host_of(order.settings.serve.host))
        background.check_room(catalog, order.settings.pool)
    site = Site.of(order, phases, catalog, node)
    order.state.remember(_begun(record, catalog))
    _background(site, found)
    done = _foreground(record, site, found, opens=opens)
    order.state.remember(done)
    return done


def _begun(record: Running, catalog: Catalog) -> Running:
    """What is known to run from here to the end: of each agent perhaps what was there, perhaps what is to be."""
    coming = {entry.name: entry.reference for entry in catalog.values()}
    return replace(record, agents={**record.agents, **coming}, code=UNFINISHED)


def connect(record: Running, order: Order) -> str:
    """Connect to what runs, as a process of its own code; the id of this node."""
    if record.ours:
        raylocal.adopt(raylocal.environment(record.cluster, order.state.token, {}, python_path()))
        return raylocal.connect(record.address)
    node = raylocal.join(record.address, ROOT, python_path())
    if not on_server(record.store):
        raylocal.check_is_head(node)
    return node


def _background(site: Site, found: Changes) -> None:
    """The ledger and the pool of the new code, and workers of each kind that takes work; what is the same goes on."""
    order, phases = site.order, site.phases
    settings = order.settings
    if found.ledger:
        with phases.phase("hand over the ledger"):
            background.replace_ledger(order.state, settings, site.catalog, site.artifacts, site.node)
    if found.pool:
        with phases.phase("start new workers") as tell:
            background.replace_pool(site.catalog, settings.pool, site.artifacts, site.logs, site.staff)
            background.wait_for_workers(tell)


def _foreground(record: Running, site: Site, found: Changes, *, opens: bool) -> Running:
    """The applications that are new or others, and no longer those that nobody asks for."""
    phases, catalog = site.phases, site.catalog
    live = {name: entry for name, entry in catalog.items() if entry.agent.realtime is not None}
    others = live if found.settings else {name: live[name] for name in (*found.added, *found.changed) if name in live}
    with phases.phase("replace replicas") as tell:
        foreground.deploy(site, others, opens=opens, tell=tell)
        leaving.delete([f"{leaving.AGENT}{name}" for name in record.agents if name not in live])
    with phases.phase("wait until all answer"):
        foreground.wait_for_answers(record.url, live, site.order.admin_key)
    return replace(
        record,
        agents={entry.name: entry.reference for entry in catalog.values()},
        marks=agent_marks(catalog),
        code=site.order.code,
        runtime=site.order.carried.around,
        secrets=dict(site.order.carried.digests),
        settings=site.order.settings.model_dump(exclude={"agents"}),
    )
