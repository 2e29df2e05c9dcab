"""Leases in memory, lost at exit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.model.lease import Versioned

if TYPE_CHECKING:
    from collections.abc import Mapping


class MemoryLeases:
    """See `LeaseStore`; `values` holds everything."""

    def __init__(self) -> None:
        self.values: dict[str, Versioned] = {}
        self._changed = asyncio.Condition()

    async def read(self, key: str) -> Versioned | None:
        """See `LeaseStore.read`."""
        return self.values.get(key)

    async def read_all(self, prefix: str) -> Mapping[str, Versioned]:
        """See `LeaseStore.read_all`."""
        return {key: value for key, value in self.values.items() if key.startswith(prefix)}

    async def compare_and_set(self, key: str, value: bytes, expected: int) -> Versioned | None:
        """See `LeaseStore.compare_and_set`."""
        before = self.values.get(key)
        if (before.revision if before is not None else 0) != expected:
            return None
        after = Versioned(value, expected + 1)
        self.values[key] = after
        async with self._changed:
            self._changed.notify_all()
        return after

    async def wait_for_change(self, key: str, revision: int, timeout_seconds: float) -> Versioned | None:
        """See `LeaseStore.wait_for_change`."""

        def differs() -> bool:
            value = self.values.get(key)
            return value is not None and value.revision != revision

        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(differs)
        except TimeoutError:
            return None
        return self.values[key]

    async def close(self) -> None:
        """See `LeaseStore.close`."""
