"""Changes to the same thing are made one at a time; changes to different things do not wait for each other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field

from replicator.errors import Conflict

_TURN_SECONDS_MAX = 20.0
_SHARE_OF_TIME = 0.5


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    who: str = ""
    since: float = 0.0


class OrderTurns:
    """Who may change what now.

    Whoever has a turn never waits for another daemon, which may be waiting for us; and nobody waits long: an order is
    refused while there is still time to say why.
    """

    def __init__(self) -> None:
        self._turns: dict[Hashable, _Turn] = {}

    @contextlib.asynccontextmanager
    async def of(self, *what: Hashable, who: str, seconds: float | None) -> AsyncIterator[None]:
        """Run the block while no other block changes the same thing.

        Args:
            what: What is changed.
            who: Who changes it, for those who have to wait.
            seconds: How long the caller waits for an answer; None: as long as it takes.

        Raises:
            Conflict: Someone else is still changing it.
        """
        turn = self._turns.setdefault(what, _Turn())
        turn.users += 1
        try:
            await self._taken(turn, _TURN_SECONDS_MAX if seconds is None else seconds * _SHARE_OF_TIME)
            try:
                turn.who, turn.since = who, time.monotonic()
                yield
            finally:
                turn.lock.release()
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[what]

    async def _taken(self, turn: _Turn, seconds: float) -> None:
        seconds = min(seconds, _TURN_SECONDS_MAX)
        try:
            async with asyncio.timeout(seconds):
                await turn.lock.acquire()
        except TimeoutError as error:
            raise Conflict(
                "another order about the same thing is still being carried out",
                why=f"{turn.who}, begun {time.monotonic() - turn.since:.0f} s ago",
                next_step="repeat this one when that is done: replicator flow status",
            ) from error
