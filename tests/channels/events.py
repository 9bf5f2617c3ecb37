"""Notifications to deliver."""

from __future__ import annotations

from pipeline.core.notification import Notification
from pipeline.observers.notify import compose
from tests.cli.summaries import summary

NOON = 1_795_262_400.0
"""2026-11-21, 12:00 UTC."""


def told(**changes: object) -> Notification:
    """A run that went well, with `changes` to its summary."""
    return compose("complete", summary(**changes), NOON)
