"""`replicator demo`."""

from __future__ import annotations

from replicator.errors import NotAvailable


def command() -> None:
    """Show a flow between two local clusters."""
    raise NotAvailable("`replicator demo` is not available in this version")
