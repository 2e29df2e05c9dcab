"""Keeps writers off a source while a switch closes it: rules of its authorizer, or the operator's word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core import switch_steps as do
from replicator.model.switch import Close, Journal

if TYPE_CHECKING:
    from replicator.engine.switch.site import Site


class SourceLocks:
    """The locks on the source of one flow.

    Args:
        site: What the switch works on.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def problems(self, journal: Journal) -> list[str]:
        """Return what keeps the source from being closed.

        Raises:
            KafkaError: The source cannot be asked.
        """
        if journal.options.close is Close.STATED:
            return []
        source = self._site.flow.source
        return [f"{source} cannot be closed by rules: stop its producers, and state it with --producers-stopped"]

    async def plan(self, step: do.PlanLocks) -> do.Result:
        """See `do.PlanLocks`."""
        return do.LocksPlanned(step.ours)

    async def place(self, step: do.PlaceLocks) -> do.Result:
        """See `do.PlaceLocks`."""
        del step
        return do.Ok()

    async def remove(self, step: do.ReopenSource) -> do.Result:
        """See `do.ReopenSource`."""
        del step
        return do.Ok()

    async def open_target(self) -> do.Result:
        """Remove what kept other writers off the target."""
        return do.Ok()

    async def standing(self, locks: frozenset[str]) -> frozenset[str]:
        """Return those of the locks that stand."""
        del locks
        return frozenset()
