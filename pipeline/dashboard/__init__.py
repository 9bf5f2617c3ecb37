"""A page on this machine about all runs: what goes on now, what was spent, how the last runs ended. It only looks."""

from pipeline.dashboard.access import Access, is_loopback
from pipeline.dashboard.server import Dashboard

__all__ = ["Access", "Dashboard", "is_loopback"]
