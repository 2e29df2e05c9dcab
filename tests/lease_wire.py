"""A daemon's way to its coordinator, which loses requests or answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from replicator.errors import DaemonUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from replicator.engine.work.coordinator import Coordinator
    from replicator.model.lease import LeaseAnswer, LeaseCaller, LeaseTable

R = TypeVar("R")


class Wire:
    """The way from a daemon to its coordinator, as a `LeasePort`: requests or answers get lost.

    Attributes:
        coordinator: Whom it leads to.
        loses_requests: Whether no call arrives.
        loses_answers: Whether calls arrive, and their answers do not.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.loses_requests = False
        self.loses_answers = False

    async def _carry(self, work: Callable[[], Awaitable[R]]) -> R:
        if self.loses_requests:
            raise DaemonUnreachable("no answer")
        answer = await work()
        if self.loses_answers:
            raise DaemonUnreachable("no answer")
        return answer

    async def renew(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort`."""
        return await self._carry(lambda: self.coordinator.renew(caller))

    async def acquire(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort`."""
        return await self._carry(lambda: self.coordinator.acquire(caller))

    async def hand_off(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort`."""
        return await self._carry(lambda: self.coordinator.hand_off(caller))

    async def release(self, caller: LeaseCaller, *, leaves: bool) -> LeaseAnswer:
        """See `LeasePort`."""
        return await self._carry(lambda: self.coordinator.release(caller, leaves=leaves))

    async def tables(self) -> Sequence[LeaseTable]:
        """See `LeasePort`."""
        return await self._carry(self.coordinator.tables)

    async def watch(self, flow_uid: str) -> AsyncIterator[LeaseTable]:
        """See `LeasePort`."""
        async for table in self.coordinator.watch(flow_uid):
            if self.loses_requests or self.loses_answers:
                raise DaemonUnreachable("no answer")
            yield table
