"""Agents that come with Rubato."""
