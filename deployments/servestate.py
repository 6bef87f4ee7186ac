"""What is read and changed of Serve's own state in a replica: all of it here, since Ray promises none of it.

tests/deployments/test_serving_ray.py notices where Ray keeps it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Counting(NamedTuple):
    """Where the application of the replica is, and how Serve is told of a request that begins and one that ends: it
    ends no replica that has some, while it can wait."""

    prefix: str
    begin: Callable[[], None]
    end: Callable[[], None]


def draining() -> Callable[[], bool] | None:
    """What says, from then on, whether Serve is about to end the replica in this process; None where this is none, or
    Serve keeps it elsewhere."""
    replica = _replica()
    if not isinstance(getattr(replica, "_shutting_down", None), bool):
        return None
    return lambda: bool(replica._shutting_down)


def counting() -> Counting | None:
    """How the requests of the replica in this process are counted; None where this is none, or takes no requests of its
    own, or Serve counts elsewhere."""
    replica = _replica()
    manager, prefix = getattr(replica, "_metrics_manager", None), getattr(replica, "_route_prefix", None)
    begin, end = (getattr(manager, f"{way}_num_ongoing_requests", None) for way in ("inc", "dec"))
    if not (callable(begin) and callable(end) and isinstance(prefix, str)):
        return None
    from ray.serve._private.common import RequestMetadata, RequestProtocol

    any_request = RequestMetadata("", "", _request_protocol=RequestProtocol.HTTP, is_direct_ingress=True)
    return Counting(prefix.rstrip("/"), lambda: begin(any_request), lambda: end(any_request))


def _replica() -> Any:
    from ray._private.worker import global_worker

    return getattr(global_worker.actors.get(global_worker.actor_id), "_replica_impl", None)
