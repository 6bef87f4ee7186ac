"""The checks of the manifests find what they are for: a name written wrong, of every kind."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from . import schemas, serveconfig
from .rendering import OURS, names, of_kind, rendered, service

pytestmark = pytest.mark.slow

TYPOS = {  # kind: where a name is, and how it is misspelt
    "Namespace": ("metadata", "labels", "lables"),
    "ConfigMap": ("data", "date"),
    "Service": ("spec", "selector", "selectr"),
    "StatefulSet": ("spec", "template", "spec", "containers", 0, "image", "imgae"),
    "PersistentVolumeClaim": ("spec", "accessModes", "accessMode"),
    "NetworkPolicy": ("spec", "ingress", 0, "from", "form"),
    "PodDisruptionBudget": ("spec", "minAvailable", "minAvailabe"),
    "PodMonitor": ("spec", "podMetricsEndpoints", 0, "interval", "intervall"),
    "PrometheusRule": ("spec", "groups", 0, "rules", 0, "expr", "expression"),
    "RayService": ("spec", "rayClusterConfig", "workerGroupSpecs", 0, "groupName", "groupNam"),
}
IN_A_POD = ("spec", "rayClusterConfig", "headGroupSpec", "template", "spec", "containers", 0, "envFrom", "envform")


def misspelt(document: dict[str, Any], place: tuple[Any, ...]) -> dict[str, Any]:
    made = at = copy.deepcopy(document)
    *above, right, wrong = place
    for step in above:
        at = at[step]
    at[wrong] = at.pop(right)
    return made


@pytest.mark.parametrize("kind", TYPOS)
def test_a_name_that_is_misspelt_is_found(ours: str, kind: str) -> None:
    for document in of_kind(ours, kind)[-1:]:
        assert any(str(TYPOS[kind][-1]) in fault for fault in schemas.faults(misspelt(document, TYPOS[kind])))


def test_a_name_that_is_misspelt_deep_in_a_pod_is_found(ours: str) -> None:
    (document,) = of_kind(ours, "RayService")

    (fault,) = schemas.faults(misspelt(document, IN_A_POD))

    assert "'envform' was unexpected" in fault
    assert fault.startswith("spec/rayClusterConfig/headGroupSpec/template/spec/containers/0")


def test_a_value_of_another_type_is_found(ours: str) -> None:
    document = copy.deepcopy(of_kind(ours, "RayService")[0])
    document["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] = "8"

    assert len(schemas.faults(document)) == 1


def test_every_kind_that_is_rendered_has_its_typo(ours: str) -> None:
    assert {document["kind"] for document in rendered(ours)} <= set(TYPOS)


def test_a_kind_without_a_schema_is_found() -> None:
    assert schemas.faults({"apiVersion": "ray.io/v1", "kind": "RayServise", "metadata": {}})
    assert schemas.faults({"apiVersion": "apps/v1", "kind": "StatefulSett", "metadata": {}})


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("route_prefix: /\n", "route_prefx: /\n", "did you mean 'route_prefix'?"),
        ("num_replicas: 2", "num_replica: 2", "did you mean 'num_replicas'?"),
        ("label_selector", "labels_selector", "did you mean 'label_selector'?"),
        ("host: 0.0.0.0", "hosts: 0.0.0.0", "did you mean 'host'?"),
        ("rayservice:gateway", "rayservice:gatway", "did you mean 'gateway'?"),
        ("rubato.toml}", "rubato.toml, nam: a}", "gateway takes no argument 'nam'"),
        ("name: support}\n", "nam: support}\n", "did you mean 'name'?"),
        ("name: agent-support", "name: agent-suport", "must be 'agent-support'"),
        ("/v1/agents/support", "/v1/agent/support", "must be '/v1/agents/support'"),
        ("  - name: support", "  - name: suport", "it has 'support'"),
        ("num_replicas: 2", "num_replicas: two", "num_replicas"),
    ],
)
def test_a_wrong_name_in_the_configuration_of_serve_is_found(ours: str, right: str, wrong: str, said: str) -> None:
    config = service(ours)["serveConfigV2"]
    assert right in config

    assert any(said in fault for fault in serveconfig.faults(config.replace(right, wrong, 1)))


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ("llm_configs", "args"),
        ("model_source", "llm_configs[0].model_loading_config"),
        ("accelerator_type", "llm_configs[0]"),
        ("min_replicas", "llm_configs[0].deployment_config.autoscaling_config"),
    ],
)
@pytest.mark.usefixtures("_kubectl")
def test_a_wrong_name_in_what_is_said_to_ray_serve_llm_is_found(right: str, said: str) -> None:
    config = service("gpu")["serveConfigV2"]

    (fault,) = [each for each in serveconfig.faults(config.replace(right, f"{right}x")) if each.startswith(said)]

    assert fault == f"{said}.{right}x: there is no such key; did you mean {right!r}?"


def test_ours_are_there() -> None:
    assert set(OURS) <= set(names())
