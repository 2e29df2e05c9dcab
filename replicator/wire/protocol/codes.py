"""Kafka's error codes by name, for callers that look closer than `faults` does."""

from __future__ import annotations

from kio.schema.errors import ErrorCode

__all__ = ["ErrorCode"]
