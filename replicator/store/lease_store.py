"""Where a coordinator keeps its leases: a small store of versioned values, changed by compare-and-set only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from replicator.model.lease import Versioned


class LeaseStore(Protocol):
    """Keeps values by key. Every method may raise `StoreError`; the outcome of a change is then unknown."""

    async def read(self, key: str) -> Versioned | None:
        """Return a value, None where there is none."""
        ...

    async def read_all(self, prefix: str) -> Mapping[str, Versioned]:
        """Return every value whose key begins with `prefix`."""
        ...

    async def compare_and_set(self, key: str, value: bytes, expected: int) -> Versioned | None:
        """Store `value` if the key's revision is `expected` (0: there is none yet); None where it is not."""
        ...

    async def wait_for_change(self, key: str, revision: int, timeout_seconds: float) -> Versioned | None:
        """Return the value once its revision differs from `revision`, None after the time-out."""
        ...

    async def close(self) -> None:
        """Let go of it; safe to call twice."""
        ...
