"""A flow's lineage: the cluster it copies from, those it copied from before, and whether it may be moved to another.

A flow is identified by its name and the ids of its two clusters. Its source changes only by an order
(`replicator flow repoint`), which raises the flow's *lineage epoch*: whatever was recorded about the source under a
lower epoch (topic ids, leader epochs, log ends) says nothing about the present one. The target's logs stay, and copying
goes on wherever they hold what the new source holds at the same offsets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.errors import Conflict, PreflightFailed

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Source:
    """A cluster that a flow copies from, or copied from: its alias in flow files, and its id; empty if unknown."""

    alias: str
    cluster_id: str

    def is_same(self, other: Source) -> bool:
        """Return whether both are certainly one cluster: an unknown id equals no other."""
        return bool(self.cluster_id) and self.cluster_id == other.cluster_id

    def __str__(self) -> str:
        """Return a description: `a (cluster X)`."""
        return f"{self.alias} (cluster {self.cluster_id})" if self.cluster_id else self.alias


@dataclass(frozen=True, slots=True)
class Lineage:
    """What is recorded on a target about where the records of a flow come from.

    Attributes:
        uid: The flow.
        epoch: The lineage epoch, 0 while the flow has never been moved.
        source: The cluster that it copies from.
        earlier: Those before, newest last.
        ordered: The cluster that it is about to be moved to; None for none.
    """

    uid: str
    epoch: int
    source: Source
    earlier: tuple[Source, ...] = ()
    ordered: Source | None = None

    def was_from(self, source: Source) -> bool:
        """Return whether the flow copied from a cluster before, and no longer does."""
        return not self.source.is_same(source) and any(one.is_same(source) for one in self.earlier)


def moved_from(source: Source, lineages: Iterable[Lineage]) -> Lineage | None:
    """Return the flow that was moved away from a source that its file still names; None if there is none, or several.

    Args:
        source: What the file says.
        lineages: The flows with that name on the target, none of which copies from `source`.
    """
    found = [one for one in lineages if one.was_from(source)]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class RepointFacts:
    """What is known when a flow is to be moved.

    Attributes:
        flow: Its name.
        target: Alias and id of its target.
        copies: Whether the whole flow copies: no side of it is being opened, or open.
        apart: Target topics of mirrors that were switched alone.
        running: Text about a running switch of the flow; empty for none.
        circle: A topic of the new source that is copied from the flow's own target, with the flow that does so; empty
            for none.
        recreated: Whether a topic that the flow mirrors was created again on its present source.
    """

    flow: str
    target: Source
    copies: bool
    apart: tuple[str, ...] = ()
    running: str = ""
    circle: str = ""
    recreated: bool = False


def check_repoint(lineage: Lineage, to: Source, facts: RepointFacts) -> bool:
    """Return whether there is anything to do: False if the flow copies from that cluster, or is about to.

    Args:
        lineage: What is recorded.
        to: The new source; its id is known.
        facts: What else is known.

    Raises:
        Conflict: A switch of the flow is running, or it is being moved to another cluster.
        PreflightFailed: It cannot be moved there, or not now.
    """
    flow = facts.flow
    if lineage.ordered is not None:
        if lineage.ordered.is_same(to):
            return False
        raise Conflict(
            f"flow {flow!r} is being moved to {lineage.ordered}",
            why="somebody ordered that first",
            next_step=f"replicator flow status {flow}, and repeat the command once it has moved",
        )
    if lineage.source.is_same(to) and not facts.recreated:
        return False
    if to.is_same(facts.target):
        raise PreflightFailed(
            f"flow {flow!r} cannot copy from its own target {facts.target}",
            next_step="name another cluster of the flow file",
        )
    if facts.running:
        raise Conflict(
            f"flow {flow!r} cannot be moved while {facts.running}",
            next_step=f"replicator switch status {flow}",
        )
    if facts.apart:
        raise PreflightFailed(
            f"{facts.apart[0]} of flow {flow!r} was switched by itself, and is open on {facts.target.alias}",
            why="it would stay with its old source",
            next_step=f"replicator failback {flow} --topics TOPIC, then repeat the command",
        )
    if not facts.copies:
        raise PreflightFailed(
            f"flow {flow!r} does not copy: its target {facts.target.alias} is the open side",
            why="a flow is moved while it copies; what its target took since it was opened would be overwritten",
            next_step=f"replicator failback {flow}; or, to end it, take it out of the flow file and "
            f"replicator flow forget {flow}",
        )
    if facts.circle:
        raise PreflightFailed(
            f"flow {flow!r} cannot copy from {to.alias}: {facts.circle}",
            why="records would go in a circle",
            next_step="take that flow out of its flow file, then: replicator flow forget FLOW",
        )
    return True
