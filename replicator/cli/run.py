"""`replicator run`."""

from __future__ import annotations

from replicator.errors import NotAvailable


def command() -> None:
    """Run the flows of a file."""
    raise NotAvailable("`replicator run` is not available in this version")
