"""The overlays as `kubectl kustomize` renders them, each once for all tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ROOT / "k8s" / "overlays"
OURS = ("eks", "gke", "gpu", "local")

Document = dict[str, Any]


def kubectl() -> str | None:
    """The one of this environment's wheel, else whichever there is."""
    here = str(Path(sys.executable).parent)
    return shutil.which("kubectl", path=here) or shutil.which("kubectl")


def names() -> list[str]:
    """The overlays that there are: one that you add is checked with ours."""
    return sorted(folder.name for folder in OVERLAYS.iterdir() if (folder / "kustomization.yaml").exists())


@cache
def rendered(overlay: str) -> tuple[Document, ...]:
    """What would be applied. They are shared: do not change them."""
    command = [kubectl() or "kubectl", "kustomize", str(OVERLAYS / overlay)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return tuple(document for document in yaml.safe_load_all(ended.stdout) if document)


def of_kind(overlay: str, kind: str) -> list[Document]:
    return [document for document in rendered(overlay) if document["kind"] == kind]


def service(overlay: str) -> Document:
    """The one RayService's spec."""
    (found,) = of_kind(overlay, "RayService")
    spec: Document = found["spec"]
    return spec


def config_map(overlay: str, name: str) -> dict[str, str]:
    """The data of a generated one, by its name without the suffix."""
    (found,) = [each for each in of_kind(overlay, "ConfigMap") if each["metadata"]["name"].rpartition("-")[0] == name]
    data: dict[str, str] = found["data"]
    return data


def templates(overlay: str) -> dict[str, Document]:
    """The pod templates, by group, Ray's with the labels that KubeRay adds."""
    cluster = service(overlay)["rayClusterConfig"]
    groups = {"head": cluster["headGroupSpec"]} | {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    found = {name: group["template"] for name, group in groups.items()}
    for name, template in found.items():
        metadata = template["metadata"]
        found[name] = {**template, "metadata": {**metadata, "labels": {**metadata["labels"], "ray.io/group": name}}}
    sets = of_kind(overlay, "StatefulSet")
    return found | {each["metadata"]["name"]: each["spec"]["template"] for each in sets}
