"""What ends a chaos run early."""

from __future__ import annotations

from replicator.errors import ReplicatorError


class ChaosError(ReplicatorError):
    """The run gives no verdict: the bench itself failed, or a bounded wait ended."""
