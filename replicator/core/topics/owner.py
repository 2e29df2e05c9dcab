"""Another flow that owns the target topic of a mirror: what it is, and whether its topic may be adopted.

Pure: what the records on the target say, and what its daemons show, comes in as values.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from replicator.errors import Conflict
from replicator.model.units import format_age


class OwnerState(enum.StrEnum):
    """What the flow that owns a topic does with it."""

    COPIES = "copies"
    SWITCHES = "switches"
    OPEN = "open"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Owner:
    """The flow that a target topic is recorded as a mirror of.

    Attributes:
        uid: The flow's id.
        name: The flow's name.
        source: Alias of its source.
        source_id: Cluster id of its source.
        state: What it does with the topic.
        same_name: Whether it has the asking flow's name: then that flow had another source before.
        same_source: Whether it copies from the asking flow's source cluster: perhaps the flow was renamed.
        source_topic: The topic of its source that it copies, or copied, to the target topic.
    """

    uid: str
    name: str
    source: str
    source_id: str
    state: OwnerState
    same_name: bool = False
    same_source: bool = False
    source_topic: str = ""

    def __str__(self) -> str:
        """Return a description: `flow a-to-c (from a, cluster X)`."""
        where = f"from {self.source}, cluster {self.source_id}" if self.source_id else "of which no record is left"
        return f"flow {self.name} ({where})"

    def text(self, topic: str, source: str, source_id: str) -> str:
        """Return why a mirror is stopped whose target topic belongs to this flow.

        Args:
            topic: The topic on the target.
            source: Alias of the asking flow's source.
            source_id: Cluster id of the asking flow's source.
        """
        if self.same_name and not self.same_source:
            return (
                f"cluster {source} of flow {self.name} is {source_id}, and {topic} is the mirror of a flow of the same "
                f"name from {self.source_id or 'a cluster that is not known'} ({self.source}): that was rebuilt or "
                "replaced, or another site uses the name"
            )
        what = {
            OwnerState.COPIES: f"{topic} is a mirror of {self}",
            OwnerState.SWITCHES: f"{topic} is a mirror of {self}, a switch of which is under way",
            OwnerState.OPEN: f"{topic} was a mirror of {self}, whose target was opened: applications may write to it",
            OwnerState.REMOVED: f"{topic} was a mirror of {self}",
        }[self.state]
        renamed = self.same_source and self.state is OwnerState.COPIES
        return f"{what}; was that flow renamed?" if renamed else what

    def next_step(self, flow: str) -> str:
        """Return what helps a mirror of another flow whose target topic belongs to this flow.

        Args:
            flow: Name of the asking flow.
        """
        accept = f"`replicator mirror resolve {flow} TOPIC --how accept`"
        if self.state is OwnerState.SWITCHES:
            return f"wait for it (`replicator switch status {self.name}`)"
        if self.state is not OwnerState.COPIES:
            return f"{accept} adopts it; or exclude it here, or mirror it under another name (rename)"
        keep = "to keep both, exclude it here, or mirror it under another name (rename)"
        adopt = f"once no daemon runs that flow any more, {accept} adopts it with its offset map"
        if self.same_name:
            return f"{keep}; {adopt}"
        # While its daemons run, they count as active, whatever they leave out: their signs of life do not end.
        return f"{keep}; to have it here while flow {self.name} goes on: {self.hand_over(accept)}; {adopt}"

    def hand_over(self, then: str) -> str:
        """Return how this flow gives up the topic while its daemons go on; `then` is the step after that."""
        topic = self.source_topic or "TOPIC"
        return (
            f"take {topic} out of flow {self.name} (topics.exclude, and restart its daemons), "
            f"`replicator mirror forget {self.name} {topic}`, then {then}"
        )


@dataclass(frozen=True, slots=True)
class OwnerLiveness:
    """What a flow's daemons show.

    Attributes:
        signs: Whether any of them left signs of life that it did not remove.
        quiet_seconds: For how long these were seen unchanged.
        silence_seconds: How long a daemon may have an effect after its last sign of life.
    """

    signs: bool
    quiet_seconds: float
    silence_seconds: float


def check_adoption(owner: Owner, seen: OwnerLiveness, topic: str) -> None:
    """Return if a topic may be taken from the flow that owns it.

    An active flow would go on writing; it cannot be stopped from here.

    Raises:
        Conflict: That flow is active, or may be.
    """
    if owner.state is OwnerState.SWITCHES:
        raise Conflict(
            f"{topic} cannot be taken from {owner}",
            why="a switch of that flow is under way",
            next_step=f"replicator switch status {owner.name}",
        )
    if owner.state is not OwnerState.COPIES or not seen.signs:
        return
    left = seen.silence_seconds - seen.quiet_seconds
    if left <= 0:
        return
    raise Conflict(
        f"{topic} cannot be taken from {owner}",
        why=f"daemons of that flow are active: their signs of life changed {format_age(seen.quiet_seconds)} ago",
        next_step=f"to keep both, exclude it from one of the two flows, or mirror it under another name (rename); to "
        f"adopt it here, stop the daemons of {owner.name} and wait {format_age(left)}, or "
        f"{owner.hand_over('repeat this command')}",
    )
