"""Where a coordinator keeps its leases: a small store of versioned values, changed only by compare-and-set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from replicator.model.lease import Versioned


class LeaseStore(Protocol):
    """Keeps values by key. Every method may raise `StoreError`; the outcome of a change is then unknown."""

    async def read(self, key: str) -> Versioned | None:
        """Return a value, None if there is none."""
        ...

    async def read_all(self, prefix: str) -> Mapping[str, Versioned]:
        """Return every value whose key starts with `prefix`."""
        ...

    async def compare_and_set(self, key: str, value: bytes, expected: int) -> Versioned | None:
        """Store `value` if the key's revision is `expected` (0: no value yet), and return it; otherwise return None."""
        ...

    async def wait_for_change(self, key: str, revision: int, timeout_seconds: float) -> Versioned | None:
        """Return the value once its revision differs from `revision`, None after the timeout."""
        ...

    async def close(self) -> None:
        """Close it; safe to call twice."""
        ...
