"""`up`: from nothing to agents that answer, as much of it at once as two CPUs allow.

Nothing here imports Ray before `raylocal.adopt`: Ray reads its environment once, when it is imported.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from agents import RubatoError
from agents.catalog import Catalog
from cluster import processes, raylocal
from cluster.equipment import Equipment
from cluster.places import on_server

from . import background, foreground, leaving
from .admitting import Admission, admit, check_text, is_loopback
from .bodies import Limits
from .carrying import Carried, carry, enter, equipment
from .codemark import agent_marks, code_mark, python_path
from .fitting import check_fits
from .ingress import Ports, free_ports, haproxy, is_free, serve_env
from .phases import Phases, beside
from .settings import Settings
from .state import ROOT, Running, StateFolder


class CannotStart(RubatoError):
    """`up` cannot do as asked; nothing was started. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an `up` is to start."""

    state: StateFolder
    settings: Settings
    named: dict[str, str]  # agents of the settings: name -> module:Class
    added: tuple[str, ...] = ()  # further ones
    join: str = ""  # where a Ray runs already; '' starts one here
    admin_key: str = field(default="", repr=False)  # '': none was given
    flags: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # settings that the command line gave
    carried: Carried = field(default_factory=Carried)

    @property
    def references(self) -> tuple[str, ...]:
        return (*self.named.values(), *self.added)

    @property
    def code(self) -> str:
        """Tells the code that lies here, with all that is carried beside it, from any other."""
        return code_mark(python_path(), self.carried.code)


def carrying(order: Order, phases: Phases) -> Order:
    """The order with what it carries, of which from now on this process too can load agents. Raises CannotCarry,
    and CannotStart where that could not work."""
    if order.settings.runtime.image and "://" not in order.settings.artifacts.url:
        raise CannotStart(
            "containers of [runtime] image see no folder of their node: [artifacts] url must be a URL that fsspec knows"
        )
    carried = carry(order.settings.runtime, order.state, os.environ, phases)
    enter(carried, order.state.path / "packages")
    return replace(order, carried=carried)


def running(state: StateFolder) -> Running | None:
    """What runs for this state folder; None also where a record is left of what does not run any more."""
    record = state.running()
    if record is None:
        return None
    if record.ours:
        return record if processes.mark_of(record.pid) == record.cluster else None
    return record if foreground.status_of(f"{record.url}/healthz") == 200 else None


@dataclass(frozen=True, slots=True)
class Site:
    """Where things are started, once Ray is there: all that the phases after it need."""

    order: Order
    phases: Phases
    catalog: Catalog
    node: str
    equipment: Equipment
    modules: tuple[str, ...]  # that are carried, by Ray's names

    @classmethod
    def of(cls, order: Order, phases: Phases, catalog: Catalog, node: str) -> Site:
        """On the cluster that this process has connected to. Raises RayProblem, and CannotCarry where secrets would lie
        open there."""
        folders = order.carried.modules
        modules = raylocal.upload(folders) if folders else ()
        return cls(order, phases, catalog, node, equipment(order.carried), tuple(modules))

    @property
    def runtime_env(self) -> dict[str, Any] | None:
        """What replicas need of Ray: what this connection gave its workers, and what is carried."""
        if self.order.carried.image:
            return {"image_uri": self.order.carried.image}
        modules = {"py_modules": list(self.modules)} if self.modules else {}
        return {**leaving.runtime_env(), **modules} or None

    @property
    def staff(self) -> background.Staff:
        """What workers are."""
        code = f"{self.order.code} {self.order.carried.around}"
        return background.Staff(code, self.equipment, self.modules, self.order.carried.image)

    @property
    def logs(self) -> Path:
        """Where workers keep what tasks log, each on its node; in a container only Ray's own folder is the node's."""
        return raylocal.session() / "rubato-logs" if self.order.carried.image else self.order.state.logs

    @property
    def artifacts(self) -> str:
        return self.order.settings.artifacts.url or str(self.order.state.path / "artifacts")

    @property
    def limits(self) -> Limits:
        serve = self.order.settings.serve
        return Limits(serve.input_bytes, serve.batch_bytes, serve.artifact_bytes)


def up(order: Order, phases: Phases) -> tuple[Running, Admission]:
    """Start everything and return once it answers. Raises CannotStart, NoAdmission or PhaseFailed; then nothing of it
    is left."""
    if order.admin_key:
        check_text(order.admin_key)
    cluster = order.state.make()
    processes.end(cluster)  # what is left of an `up` that was killed, or of a Ray that broke down
    order.state.forget()
    order.state.logs.mkdir(mode=0o700, exist_ok=True)
    order = carrying(order, phases)
    record, admission = _up_there(order, cluster, phases) if order.join else _up_here(order, cluster, phases)
    order.state.remember(record)
    return record, admission


def _up_here(order: Order, cluster: str, phases: Phases) -> tuple[Running, Admission]:
    """On a Ray of our own."""
    serve = order.settings.serve
    if not is_free(serve.port, serve.host):
        raise CannotStart(
            f"port {serve.port} on {serve.host} is taken{_by_whom(serve.port)}; choose another with --port"
        )
    ray = _local_ray(order, cluster)
    with _undone(lambda: _give_up(order.state, cluster, ray.folder)):
        raylocal.adopt(ray.env)
        catalog = beside(lambda: _load(order, phases))
        with phases.phase("start Ray"):
            leader = raylocal.start(ray)
            foreground.load()
            raylocal.wait(ray, leader)
            node = raylocal.connect(ray.address)
        site = Site.of(order, phases, catalog.result(), node)
        url, store, admission = _fill(site)
    dashboard = f"http://127.0.0.1:{ray.dashboard}" if ray.dashboard else ""
    record = _record(site, cluster, url, store, address=ray.address, pid=leader.pid, dashboard=dashboard)
    return record, admission


def _up_there(order: Order, cluster: str, phases: Phases) -> tuple[Running, Admission]:
    """On a Ray that somebody else started; of it nothing but our own actors and applications is touched."""
    with phases.phase(f"join Ray at {order.join}"):
        node = raylocal.join(order.join, ROOT, python_path())
        if not on_server(order.state.store(order.settings.store.url)[0]):
            raylocal.check_is_head(node)
        foreground.load()
        if leaving.found():
            raise CannotStart("a Rubato runs on this cluster already; end it with ./rubato down in its state folder")
    with _undone(leaving.leave):
        site = Site.of(order, phases, _load(order, phases), node)
        url, store, admission = _fill(site)
    return _record(site, cluster, url, store, address=order.join), admission


def _fill(site: Site) -> tuple[str, str, Admission]:
    """Start the background, Serve and the applications side by side; URL, store and who is let in, once everything
    answers."""
    serve, phases = site.order.settings.serve, site.phases
    opens = is_loopback(foreground.host_of(serve.host))
    behind = beside(lambda: _fill_background(site, opens=opens))
    listening = beside(lambda: _listen(serve.host, serve.port, phases))
    with phases.phase("load agents to answer at once") as tell:
        foreground.wait_for_controller()
        live = {name: entry for name, entry in site.catalog.items() if entry.agent.realtime is not None}
        foreground.deploy(site, live, opens=opens, tell=tell)
    url, (store, admission) = listening.result(), behind.result()
    with phases.phase("wait until all answer"):
        foreground.wait_for_answers(url, live, site.order.admin_key or admission.made)
    return url, store, admission


def _listen(host: str, port: int, phases: Phases) -> str:
    with phases.phase("start Serve"):
        return foreground.start(host, port)


def _fill_background(site: Site, *, opens: bool) -> tuple[str, Admission]:
    order, phases = site.order, site.phases
    with phases.phase("open the ledger"):
        background.check_room(site.catalog, order.settings.pool)
        store = background.take_store(order.state, order.settings.store.url)
        background.start_ledger(store, site.catalog, order.settings.retention, site.artifacts, site.node)
        admission = admit(background.ask_ledger, order.admin_key, opens=opens)
    with phases.phase("start workers") as tell:
        background.start_pool(site.catalog, order.settings.pool, site.artifacts, site.logs, site.staff)
        background.wait_for_workers(tell)
    return store[0], admission


def _load(order: Order, phases: Phases) -> Catalog:
    """The agents, loaded here to see that they can be."""
    with phases.phase("check agents"):
        catalog = load_agents(order.named, order.added)
        check_fits(catalog, order.settings.pool.node_kinds())
        return catalog


def load_agents(named: Mapping[str, str], added: Iterable[str] = ()) -> Catalog:
    """The agents of the settings, by name, and further ones. Raises NotLoadable, and CannotStart where the settings
    have one under a name that is not its own."""
    catalog = Catalog.load([*named.values(), *added])
    names = {entry.reference: entry.name for entry in catalog.values()}
    for name, reference in named.items():
        if names[reference] != name:
            raise CannotStart(f"[agents.{name}] names {reference}, and that agent's name is {names[reference]!r}")
    return catalog


def _local_ray(order: Order, cluster: str) -> raylocal.LocalRay:
    raylocal.make_token(order.state.token)
    folder = raylocal.make_folder(cluster)
    gcs, dashboard, *ports = free_ports(9, but=order.settings.serve.port)
    serve = serve_env(folder / "h", Ports(*ports[:3]), haproxy())
    given = {*order.carried.env, *order.carried.secrets}
    env = raylocal.environment(cluster, order.state.token, serve, python_path(), given)
    log = order.state.logs / "ray.log"
    agents = (ports[3], ports[4], ports[5], ports[6])
    return raylocal.LocalRay(cluster, folder, gcs, agents, env, log, dashboard if order.settings.serve.dashboard else 0)


def _record(site: Site, cluster: str, url: str, store: str, **of_ray: Any) -> Running:
    return Running(
        cluster=cluster,
        url=url,
        logs=str(site.order.state.logs),
        store=store,
        agents={entry.name: entry.reference for entry in site.catalog.values()},
        marks=agent_marks(site.catalog),
        code=site.order.code,
        runtime=site.order.carried.around,
        secrets=dict(site.order.carried.digests),
        settings=site.order.settings.model_dump(exclude={"agents"}),
        flags=dict(site.order.flags),
        since=time.time(),
        **of_ray,
    )


@contextmanager
def _undone(undo: Callable[[], object]) -> Iterator[None]:
    """Undo what was started where the rest of it fails, or somebody presses Ctrl-C."""
    try:
        yield
    except BaseException:
        undo()
        raise


def _give_up(state: StateFolder, cluster: str, folder: Path) -> None:
    """End what was started; what Ray logged is kept beside our own logs."""
    raylocal.disconnect()
    kept = state.logs / "failed-up"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder / "session_latest" / "logs", kept, ignore_dangling_symlinks=True, dirs_exist_ok=True)
    raylocal.stop(cluster)


def _by_whom(port: int) -> str:
    """Who listens there, where that can be seen."""
    try:
        listeners = [
            found.pid
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid
        ]
        if not listeners:
            return ""
        name = psutil.Process(listeners[0]).name()
    except psutil.Error:
        return ""
    other = " of another Rubato" if processes.mark_of(listeners[0]) else ""
    return f" by {name}{other} (process {listeners[0]})"
