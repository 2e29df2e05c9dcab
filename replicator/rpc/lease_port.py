"""What daemons ask of a coordinator, whether it is in their own process or behind gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from replicator.model.lease import Caller, LeaseAnswer, LeaseTable


class LeasePort(Protocol):
    """A coordinator. Every method but `watch` counts as a sign of life of its caller.

    Raises (every method):
        StoreError: The coordinator's store cannot be used.
        DaemonUnreachable: No coordinator answers.
        TimedOut: The same.
        Conflict: Others changed the leases again and again.
    """

    async def renew(self, caller: Caller) -> LeaseAnswer:
        """Say that the caller is alive, and make it a member; grants nothing."""
        ...

    async def acquire(self, caller: Caller) -> LeaseAnswer:
        """Take every lease that the caller is offered."""
        ...

    async def hand_off(self, caller: Caller) -> LeaseAnswer:
        """Say that the caller is on its way out: others may take its leases over while it still works."""
        ...

    async def release(self, caller: Caller, *, leaves: bool) -> LeaseAnswer:
        """Give back the leases in `caller.held`; with `leaves` the caller is no member any more."""
        ...

    async def tables(self) -> Sequence[LeaseTable]:
        """Return the leases of every flow."""
        ...

    def watch(self, flow_uid: str) -> AsyncIterator[LeaseTable]:
        """Yield the leases of a flow now, and after each change."""
        ...
