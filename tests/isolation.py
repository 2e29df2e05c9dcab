"""What a request says about isolation, for brokers that tests model."""

from __future__ import annotations

from replicator.model.spec import Isolation


def isolation_of(level: int) -> Isolation:
    """Return the isolation level that a Fetch or ListOffsets request asks for by its number."""
    return next(isolation for isolation in Isolation if isolation.level == level)
