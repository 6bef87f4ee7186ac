"""What answers over HTTP: Serve with the gateway and one application per agent, waited for until it does."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from agents import RubatoError
from agents.catalog import Catalog, Entry
from cluster.equipment import Equipment

from .bodies import Limits

CONTROLLER_SECONDS = 60.0
ANSWER_SECONDS = 60.0  # from when all applications run until the ingress leads to them
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # how to reach what listens on every interface


class NoAnswer(RubatoError):
    """An application runs and yet nothing answers at its address."""


def url_of(host: str, port: int) -> str:
    """Where this machine reaches a listener on `host`."""
    return f"http://{EVERYWHERE.get(host, host)}:{port}"


def load() -> None:
    """Import what takes seconds.

    Serve's controller too: two threads that meet it first, as `up` has them, can get a handle without its methods.
    """
    import ray.serve._private.controller  # noqa: F401

    from . import serving, wiring  # noqa: F401


def start(host: str, port: int) -> str:
    """Start Serve, and say where it answers: where it runs already that is not changed."""
    from ray.serve.context import _get_global_client

    from . import serving

    serving.start_serve(host, port)
    options = _get_global_client().http_config
    return url_of(options.host, options.port)


def running_url() -> str:
    """Where the Serve of the connected cluster answers, '' if there is none."""
    from ray.serve.context import _get_global_client

    running = _get_global_client(raise_if_no_controller_running=False)
    return "" if running is None else url_of(running.http_config.host, running.http_config.port)


def host_of(wanted: str) -> str:
    """The address that Serve listens on: the one it has where it runs already, else the one that is wanted."""
    from ray.serve.context import _get_global_client

    running = _get_global_client(raise_if_no_controller_running=False)
    return wanted if running is None else str(running.http_config.host)


def wait_for_controller() -> None:
    """Returns when applications may be deployed: that is some seconds before Serve takes requests."""
    import ray
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    ends = time.monotonic() + CONTROLLER_SECONDS
    while True:
        try:
            controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
            ray.get(controller.get_pid.remote(), timeout=CONTROLLER_SECONDS)
            return
        except ValueError:
            if time.monotonic() > ends:
                raise NoAnswer("Serve's controller did not start") from None
        time.sleep(0.05)


class Site(Protocol):
    """Where the applications run: all agents that are served, where their artifacts are, how much a request may carry,
    and what replicas need of Ray, and agents of them, besides."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def artifacts(self) -> str: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def runtime_env(self) -> dict[str, Any] | None: ...

    @property
    def equipment(self) -> Equipment: ...


def deploy(site: Site, agents: Mapping[str, Entry], *, opens: bool, tell: Callable[[str], None]) -> None:
    """Returns when the gateway and these real-time agents run, anew where they did before; `opens`: everybody may ask
    as long as there are no keys. Raises NotDeployed with the reasons."""
    from . import serving
    from .wiring import GatewayPlan, start_gateway

    references = tuple(entry.reference for entry in site.catalog.values())
    plan = GatewayPlan(references, site.artifacts, site.limits, opens, site.equipment)

    def build(entry: Entry) -> Any:
        of = serving.ReplicaPlan(entry.reference, site.artifacts, site.limits.input, opens, site.equipment)
        return serving.build(entry, of, site.runtime_env)

    serving.deploy(
        serving.build_gateway(start_gateway, plan, runtime_env=site.runtime_env),
        {name: build(entry) for name, entry in agents.items()},
        tell=tell,
    )


def wait_for_answers(url: str, agents: Iterable[str], key: str = "") -> None:
    """Returns when the gateway can take tasks and it and every agent answer: to the key, if there is one, else be it
    that a key is needed. Raises NoAnswer with the one that does not."""
    good = (200,) if key else (200, 401)
    ends = time.monotonic() + ANSWER_SECONDS
    for path in ("/readyz", "/v1/agents", *(f"/v1/agents/{name}" for name in agents)):
        while (status := status_of(url + path, key)) not in good:
            if time.monotonic() > ends:
                raise NoAnswer(f"{url}{path} answers {status or 'nothing'}")
            time.sleep(0.1)


def status_of(url: str, key: str = "", seconds: float = 5.0) -> int:
    """The HTTP status at `url`, 0 where nothing answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
