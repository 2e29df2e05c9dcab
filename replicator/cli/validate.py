"""`replicator validate`."""

from __future__ import annotations

from replicator.errors import NotAvailable


def command() -> None:
    """Check a flow file."""
    raise NotAvailable("`replicator validate` is not available in this version")
