"""Every overlay renders to documents that an API server with strict validation takes, and to settings that we take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.catalog import Catalog
from deployments.ingress import Ports, serve_env
from deployments.settings import Settings, load
from deployments.starter import STATE, check_place
from tests.deployments.test_rayservice import KEY

from . import schemas, serveconfig
from .rendering import ROOT, config_map, of_kind, rendered, service, templates

pytestmark = pytest.mark.slow

GIVEN = {  # what README.md has the operator make: secrets with their keys
    "rubato": {"store-url", "admin-key", "redis-password", "postgres-password"},
    "rubato-ray": {"auth_token"},
    "rubato-metrics": {"key"},
}


def settings_of(overlay: str, folder: Path) -> Settings:
    file = folder / "rubato.toml"
    file.write_text(config_map(overlay, "rubato-settings")["rubato.toml"])
    return load(file, {}, {})


def test_agents_beside_a_model_are_told_where_it_is(tmp_path: Path) -> None:
    apps = {app["name"]: app for app in yaml.safe_load(service("gpu")["serveConfigV2"])["applications"]}

    told = settings_of("gpu", tmp_path).runtime.env["OPENAI_BASE_URL"]
    assert told == f"http://rubato-serve-svc:8000{apps['llm']['route_prefix']}/v1"


def walk(value: Any) -> Any:
    """Every dictionary in it."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(each)


def test_every_document_is_valid_and_nothing_in_it_unknown(overlay: str) -> None:
    wrong = {f"{each['kind']} {each['metadata']['name']}": schemas.faults(each) for each in rendered(overlay)}

    assert {name: faults for name, faults in wrong.items() if faults} == {}


def test_everything_is_in_one_namespace(overlay: str) -> None:
    namespaces = {each["metadata"].get("namespace") for each in rendered(overlay) if each["kind"] != "Namespace"}

    assert namespaces == {of_kind(overlay, "Namespace")[0]["metadata"]["name"]}


def test_the_configuration_of_serve_is_valid_and_nothing_in_it_unknown(overlay: str) -> None:
    assert serveconfig.faults(service(overlay)["serveConfigV2"]) == []


def test_the_settings_load_and_suit_a_cluster(overlay: str, tmp_path: Path) -> None:
    settings = settings_of(overlay, tmp_path)
    state = config_map(overlay, "rubato-env")[STATE]

    store = settings.store.model_copy(update={"url": "postgresql://db/rubato"})
    stored = settings.model_copy(update={"store": store})
    check_place(stored, {STATE: state, "RUBATO_ADMIN_KEY": KEY}, opens=False)
    assert settings.serve.host == "0.0.0.0"


def test_each_agent_in_real_time_has_its_application(overlay: str, tmp_path: Path) -> None:
    agents = settings_of(overlay, tmp_path).agents
    catalog = Catalog.load(table.agent for table in agents.values())
    live = {f"agent-{name}" for name, entry in catalog.items() if entry.agent.realtime is not None}

    applications = serveconfig.applications(service(overlay)["serveConfigV2"])

    assert {name for name in applications if name == "gateway" or name.startswith("agent-")} == {"gateway", *live}


def test_our_applications_ask_for_cpus_of_nodes_that_stay(overlay: str) -> None:
    """What asks for none starts no node and may land on the head, whose environment has secrets."""
    for name, application in serveconfig.applications(service(overlay)["serveConfigV2"]).items():
        if application["import_path"].startswith(serveconfig.OURS):
            (deployment,) = application["deployments"]
            asked = deployment["ray_actor_options"]
            assert asked["num_cpus"] > 0, name
            assert asked["label_selector"] == {"ray.io/market-type": "on-demand"}, name


def test_serve_is_told_what_up_tells_it(overlay: str) -> None:
    told = config_map(overlay, "rubato-env")
    ports = [
        int(told[f"RAY_SERVE_{name}_PORT"]) for name in ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP")
    ]
    wanted = serve_env(Path(told["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"]), Ports(*ports), told["HAPROXY"])
    wanted["RAY_SERVE_HAPROXY_BINARY_PATH"] = "/opt/rubato/deployments/haproxy.sh"
    wanted["RAY_SERVE_HAPROXY_NBTHREAD"] = "4"

    assert {name: told.get(name) for name in wanted} == wanted


def test_what_is_referred_to_is_there(overlay: str) -> None:
    documents = list(walk(list(rendered(overlay))))
    maps = {each["metadata"]["name"] for each in of_kind(overlay, "ConfigMap")}
    claims = {each["metadata"]["name"] for each in of_kind(overlay, "PersistentVolumeClaim")}

    for key in ("configMap", "configMapRef"):
        assert {each[key]["name"] for each in documents if isinstance(each.get(key), dict)} <= maps
    assert {each["claimName"] for each in documents if "claimName" in each} <= claims
    for each in documents:
        for key in ("secretKeyRef", "credentials"):
            if isinstance(each.get(key), dict):
                assert each[key]["key"] in GIVEN[each[key]["name"]]
    assert service(overlay)["rayClusterConfig"]["authOptions"]["secretName"] in GIVEN


def test_the_readme_makes_the_secrets() -> None:
    readme = (ROOT / "k8s" / "README.md").read_text()

    for secret, keys in GIVEN.items():
        assert f"secret generic {secret} " in readme
        assert all(f"{key}=" in readme for key in keys)


def test_what_is_selected_is_there(overlay: str) -> None:
    """A policy or a monitor whose selector fits no pod does nothing, and says so nowhere."""
    pods = [template["metadata"]["labels"] for template in templates(overlay).values()]
    selectors = [each["spec"].get("selector") or each["spec"]["podSelector"] for each in selecting(overlay)]

    assert selectors
    for selector in selectors:
        assert any(fits(selector, labels) for labels in pods), selector


def selecting(overlay: str) -> list[dict[str, Any]]:
    kinds = ("NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "Service", "StatefulSet")
    return [each for kind in kinds for each in of_kind(overlay, kind)]


def fits(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if not ("matchLabels" in selector or "matchExpressions" in selector):
        selector = {"matchLabels": selector}  # as a Service has it
    expressions = selector.get("matchExpressions", [])
    assert {each["operator"] for each in expressions} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def test_no_image_names_a_registry_and_each_has_its_tag(ours: str) -> None:
    images = [each["image"] for each in walk(list(rendered(ours))) if isinstance(each.get("image"), str)]

    for image in images:
        name, _, tag = image.partition(":")
        assert "/" not in name
        assert tag not in ("", "latest")
