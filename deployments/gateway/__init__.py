"""The HTTP side of tasks, artifacts and the list of agents."""

from .app import gateway_app

__all__ = ["gateway_app"]
