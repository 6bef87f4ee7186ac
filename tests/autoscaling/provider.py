"""The cloud that tests rent machines from, as Ray's autoscaler sees it: each is a process, and launches may be refused
or hang."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from threading import RLock
from typing import Any

from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from .ground import HEAD_ID, HEAD_KIND, Ground
from .machine import Wanted, launch

Tags = dict[str, str]


class Cloud(NodeProvider):  # type: ignore[misc]
    """Lives in the autoscaler's process. What tests want of it they write to the ground, a folder."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._ground = Ground(Path(provider_config["ground"]))
        self._gcs: str = provider_config["gcs_address"]
        self._lock = RLock()
        self._tags: dict[str, Tags] = {HEAD_ID: _tags(HEAD_ID, HEAD_KIND, NODE_KIND_HEAD)}
        self._machines: dict[str, subprocess.Popen[bytes]] = {}
        self._pending: dict[str, Wanted] = {}  # launched, and Ray does not come up on them

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: Tags,
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        """Launch so many. Raises NodeLaunchException where the cloud has none of that kind now."""
        kind = tags[TAG_RAY_USER_NODE_TYPE]
        if self._ground.refuses(kind):
            raise NodeLaunchException("InsufficientCapacity", f"there is no {kind} to be had", None)
        for _ in range(count):
            id = secrets.token_hex(28)
            with self._lock:
                self._tags[id] = {**_tags(id, kind, NODE_KIND_WORKER), **tags}
                self._pending[id] = Wanted(resources, labels, str(self._ground.turn), self._gcs)
                self._bring_up()

    def non_terminated_nodes(self, tag_filters: Tags) -> list[str]:
        with self._lock:
            self._bring_up()
            for id, machine in list(self._machines.items()):
                if machine.poll() is not None:
                    self._forget(id)
            return [id for id, tags in self._tags.items() if tag_filters.items() <= tags.items()]

    def terminate_node(self, node_id: str) -> None:
        with self._lock:
            if node_id in self._machines:
                self._machines[node_id].terminate()  # it is gone when its process is
            else:
                self._forget(node_id)

    def is_running(self, node_id: str) -> bool:
        return node_id in self._tags

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self._tags

    def node_tags(self, node_id: str) -> Tags:
        return self._tags[node_id]

    def set_node_tags(self, node_id: str, tags: Tags) -> None:
        self._tags[node_id].update(tags)

    def external_ip(self, node_id: str) -> str:
        return node_id

    def internal_ip(self, node_id: str) -> str:
        return node_id

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config

    def _bring_up(self) -> None:
        """Start what was launched and does not hang, or does so no more."""
        for id, wanted in list(self._pending.items()):
            kind = self._tags[id][TAG_RAY_USER_NODE_TYPE]
            if not self._ground.hangs(kind):
                del self._pending[id]
                self._machines[id] = launch(wanted, id, kind, self._ground.log(id))
                self._ground.add(id, kind, self._machines[id].pid)

    def _forget(self, id: str) -> None:
        for kept in (self._tags, self._machines, self._pending):
            kept.pop(id, None)
        self._ground.remove(id)


def _tags(id: str, kind: str, role: str) -> Tags:
    return {
        TAG_RAY_NODE_KIND: role,
        TAG_RAY_USER_NODE_TYPE: kind,
        TAG_RAY_NODE_NAME: id,
        TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
    }
