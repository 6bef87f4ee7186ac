"""What Ray knows of its nodes: those that are there, those about to go, and the kinds that its autoscaler brings.

Most of this Ray tells its own libraries only. Every call here may take as long as Ray's GCS does: not for an event
loop's thread. Tests against a real drain and a real autoscaler notice when Ray changes what is used.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.state import state
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.core.generated import autoscaler_pb2

from agents.resources import MARKET_LABEL, FrozenMap

from .nodekinds import GROUP_LABEL, MANY, SPOT, Market, NodeKind

log = logging.getLogger("rubato.nodes")

ASK_SECONDS = 5.0  # that GCS may take to say which nodes drain
KUBERNETES_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is alive. `kind` is the name of its group, '' where it has none; one without a market label counts
    as on demand."""

    id: str
    kind: str
    market: Market
    resources: Mapping[str, float] = field(default_factory=FrozenMap)
    labels: Mapping[str, str] = field(default_factory=FrozenMap)
    draining: float | None = None  # seconds until it goes, infinite where nobody said when; None: it stays


def nodes() -> tuple[Node, ...]:
    """The nodes that Ray counts as alive; it takes some seconds to notice that one is not."""
    leaving = draining()
    return tuple(_node(each, leaving.get(each["NodeID"])) for each in ray.nodes() if each["Alive"])


def draining() -> dict[str, float]:
    """The ids of the nodes that are about to go, and in how many seconds; infinite where nobody said when."""
    now = time.time()
    return {id: max(0.0, ends / 1000 - now) if ends else math.inf for id, ends in _deadlines().items()}


def node_kinds() -> tuple[NodeKind, ...] | None:
    """The kinds of nodes that the autoscaler brings, without the head's, and how many of each; None where there is no
    autoscaler, or nobody here can say.

    To be asked on the head. No autoscaler of Ray's tells the cluster its bounds: they are read from the file that one
    beside us was started with, or from the custom resource of KubeRay. Others may publish them, without labels.
    """
    for look in (_from_file, _from_kubernetes, _as_published):
        try:
            found = look()
        except Exception:  # code of Ray's over files, and over a server, of others
            log.exception("the autoscaler's kinds of nodes cannot be read")
            continue
        if found is not None:
            return found
    return None


def _node(told: dict[str, Any], leaves: float | None) -> Node:
    labels = FrozenMap(told["Labels"])
    market: Market = "spot" if labels.get(MARKET_LABEL) == SPOT else "on_demand"
    return Node(told["NodeID"], labels.get(GROUP_LABEL, ""), market, FrozenMap(told["Resources"]), labels, leaves)


# which drain


def _deadlines() -> dict[str, int]:
    """The nodes that drain, and when each goes, in milliseconds of the epoch; 0: nobody said."""
    client = _gcs_client()
    ask = getattr(client, "get_draining_nodes", None)
    if ask is not None:  # as Ray Serve does
        return dict(ask(timeout=ASK_SECONDS))
    ask = getattr(state, "get_draining_nodes", None)
    if ask is not None:  # as Ray Train does
        return dict(ask())
    return _without_deadlines(client)


def _without_deadlines(client: Any) -> dict[str, int]:
    """The same from what the autoscaler goes by, where it is not said when they go."""
    told = get_cluster_resource_state(client).node_states
    return {node.node_id.hex(): 0 for node in told if node.status == autoscaler_pb2.NodeStatus.DRAINING}


def _gcs_client() -> Any:
    return ray._private.worker.global_worker.gcs_client


# which kinds there are


def _from_file() -> tuple[NodeKind, ...] | None:
    """As the autoscaler reads them that runs on this machine for this cluster."""
    file = _autoscalers_file(ray.get_runtime_context().gcs_address)
    if file is None:
        return None
    from ray.autoscaler.v2.instance_manager.config import FileConfigReader

    return _configured(FileConfigReader(file).get_cached_autoscaling_config())


def _autoscalers_file(gcs: str) -> str | None:
    """What the autoscaler's process was started with; None where there is none, or it has no nodes to bring."""
    for process in psutil.process_iter():
        try:
            words: list[str] = process.cmdline()
        except psutil.Error:
            continue
        given = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if given.get("--gcs-address") == gcs and "--autoscaling-config" in given:
            return os.path.expanduser(given["--autoscaling-config"])
    return None


def _from_kubernetes() -> tuple[NodeKind, ...] | None:
    """As the custom resource of the RayCluster has them that this pod is of."""
    name = os.environ.get("RAY_CLUSTER_NAME")
    if not name or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return None
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    namespace = os.environ.get("RAY_CLUSTER_NAMESPACE") or KUBERNETES_NAMESPACE.read_text().strip()
    return _of_resource(KubernetesHttpApiClient(namespace).get(f"rayclusters/{name}"))


def _of_resource(cluster: Mapping[str, Any]) -> tuple[NodeKind, ...] | None:
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    from ray.autoscaler._private.kuberay import autoscaling_config
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

    return _configured(AutoscalingConfig(autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)))


def _configured(config: Any) -> tuple[NodeKind, ...]:
    most, head = config.get_max_num_worker_nodes(), config.get_head_node_type()
    return tuple(
        NodeKind(
            name=name,
            resources={resource: float(amount) for resource, amount in kind.resources.items()},
            labels=kind.labels,
            min_nodes=kind.min_worker_nodes,
            max_nodes=kind.max_worker_nodes if most is None else min(most, kind.max_worker_nodes),
        )
        for name, kind in config.get_node_type_configs().items()
        if name != head
    )


def _as_published() -> tuple[NodeKind, ...] | None:
    """As GCS was told them; of none it was told the labels."""
    config = state.get_cluster_config()
    if config is None:
        return None
    return tuple(
        NodeKind(
            name=kind.name,
            resources={resource: float(amount) for resource, amount in kind.resources.items()},
            min_nodes=kind.min_count,
            max_nodes=MANY if kind.max_count < 0 else kind.max_count,
        )
        for kind in config.node_group_configs
    )
