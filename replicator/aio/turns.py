"""Lets everything else run in the middle of long work, which grows with the topics or groups of a flow."""

from __future__ import annotations

import asyncio
import time

_PIECE_SECONDS_MAX = 0.01


class Turns:
    """Begun with the work; `give` is called after each small piece of it."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """Let other tasks run, if the work went on for long enough."""
        if time.perf_counter() - self._since >= _PIECE_SECONDS_MAX:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
