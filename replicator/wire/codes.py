"""Kafka's error codes, by name: what a broker answers with, for whoever looks closer than `faults` does."""

from __future__ import annotations

from kio.schema.errors import ErrorCode

__all__ = ["ErrorCode"]
