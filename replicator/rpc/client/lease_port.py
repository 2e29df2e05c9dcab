"""What daemons ask of a coordinator, in their own process or over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from replicator.model.lease import LeaseAnswer, LeaseCaller, LeaseTable


class LeasePort(Protocol):
    """A coordinator. Every method but `watch` counts as a sign of life of its caller.

    Raises (every method):
        StoreError: The coordinator's store cannot be used.
        DaemonUnreachable: No coordinator answers.
        TimedOut: The same.
        Conflict: Others kept changing the leases.
    """

    async def renew(self, caller: LeaseCaller) -> LeaseAnswer:
        """Report that the caller is alive, and make it a member; grants nothing."""
        ...

    async def acquire(self, caller: LeaseCaller) -> LeaseAnswer:
        """Take every lease that the caller is offered."""
        ...

    async def hand_off(self, caller: LeaseCaller) -> LeaseAnswer:
        """Announce that the caller is leaving: others may take over its leases while it still works."""
        ...

    async def release(self, caller: LeaseCaller, *, leaves: bool) -> LeaseAnswer:
        """Give back the leases in `caller.held`; with `leaves` the caller is no longer a member."""
        ...

    async def tables(self) -> Sequence[LeaseTable]:
        """Return the leases of every flow."""
        ...

    def watch(self, flow_uid: str) -> AsyncIterator[LeaseTable]:
        """Yield the leases of a flow now, and after each change."""
        ...
