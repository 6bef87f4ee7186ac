"""Alerts and the dashboard ask for numbers that there are, where they are scraped."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from .rendering import ROOT, of_kind, templates
from .test_overlays import fits

pytestmark = pytest.mark.slow

MONITORING = ROOT / "k8s" / "monitoring"
METRIC = re.compile(r"\b(?:ray_)?rubato_\w+")


def known() -> set[str]:
    """Every metric that docs/metrics.md has in a table, with what Prometheus makes of histograms."""
    lines = [line.split("|") for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()]
    found = {line[1].strip(" `"): line[2].strip() for line in lines if len(line) > 3 and METRIC.search(line[1])}
    parts = {name: ("_bucket", "_count", "_sum") if kind == "histogram" else ("",) for name, kind in found.items()}
    return {name + part for name, made in parts.items() for part in made}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((MONITORING / "rubato.json").read_text())["panels"]
    return found


def test_every_question_is_of_numbers_that_there_are() -> None:
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in panels() for target in panel["targets"]]
    names = {name for expression in asked for name in METRIC.findall(expression)}

    assert len(names) > 15
    assert names - known() == set()


def test_every_question_is_closed_where_it_was_opened() -> None:
    for expression in [rule["expr"] for rule in rules()] + [
        each["expr"] for one in panels() for each in one["targets"]
    ]:
        for opened, closed in ("()", "[]", "{}"):
            assert expression.count(opened) == expression.count(closed), expression


def test_every_alert_says_what_is_the_matter() -> None:
    for rule in rules():
        assert rule["alert"].startswith("Rubato")
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


def test_no_panel_lies_on_another() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for one, other in combinations([panel["gridPos"] for panel in panels()], 2):
        apart = [
            one[axis] + one[size] <= other[axis] or other[axis] + other[size] <= one[axis]
            for axis, size in (("x", "w"), ("y", "h"))
        ]
        assert any(apart)
        assert one["x"] + one["w"] <= 24


def test_what_is_scraped_listens(overlay: str) -> None:
    for monitor in of_kind(overlay, "PodMonitor"):
        fitting = [
            each
            for each in templates(overlay).values()
            if fits(monitor["spec"]["selector"], each["metadata"]["labels"])
        ]
        ports = {port["name"] for each in fitting for port in each["spec"]["containers"][0]["ports"]}
        assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= ports
