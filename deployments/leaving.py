"""What we have on a Ray cluster that is not ours: found, and taken off it again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from cluster import raylocal

AGENT = "agent-"
GATEWAY = "gateway"
GONE_SECONDS = 10.0


def found() -> list[str]:
    """The names of our actors on the connected cluster."""
    from cluster.remote import NAMESPACE

    return [name for name, namespace in raylocal.actors() if namespace == NAMESPACE]


def runtime_env() -> dict[str, Any]:
    """What this connection gave its workers, for those that others start: Serve's replicas."""
    import ray

    return dict(ray.get_runtime_context().runtime_env)


def delete(applications: Iterable[str]) -> None:
    """End these applications, as far as they are there."""
    from ray import serve

    there = serve.status().applications
    for name in applications:
        if name in there:
            serve.delete(name)


def leave() -> int:
    """Delete our applications and end our actors, and say how many; nothing else on the cluster is touched."""
    import ray
    from ray import serve

    from cluster.remote import LEDGER, NAMESPACE, POOL

    ours = [name for name in serve.status().applications if name == GATEWAY or name.startswith(AGENT)]
    for name in ours:
        serve.delete(name)
    # The pool first, or it would replace the workers; the ledger last, so that they can hand back what they hold.
    actors = sorted(found(), key=lambda name: (name != POOL, name == LEDGER))
    for name in actors:
        with contextlib.suppress(ValueError):  # it went by itself
            ray.kill(ray.get_actor(name, namespace=NAMESPACE))
    ends = time.monotonic() + GONE_SECONDS
    while found() and time.monotonic() < ends:
        time.sleep(0.1)
    return len(ours) + len(actors)
