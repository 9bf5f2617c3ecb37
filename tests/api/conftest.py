"""Fixtures for the Python API."""

from tests.api.scene import scene

__all__ = ["scene"]
