"""What callers order, unchecked, whichever face took it.

Texts become orders (the method `order`) only after the caller's rights were checked: without rights one learns nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from replicator.errors import UsageError
from replicator.model.access_rules import AccessRole
from replicator.model.operations.resolution import How, ResolutionOrder
from replicator.model.status.events import Desired
from replicator.model.switch.terms import Options, SwitchOrder, Verb
from replicator.model.text import said

REVERSE_WANTED = "?"
"""In `Options.reverse_flow`: placeholder for the reverse flow, whose name only the daemon knows."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REASON_CHARS_MAX = 1000
"""It is kept in the journal of the switch, on both clusters."""


@dataclass(frozen=True, slots=True)
class DesiredRequest:
    """An order to pause or resume a flow.

    Attributes:
        expected_epoch: The order is refused if the flow is at another epoch; None: at any epoch.
        request_id: A repeated one is answered as the first was, and does nothing; empty: never repeated.
    """

    flow: str
    desired: Desired
    reason: str = ""
    expected_epoch: int | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ResolveRequest:
    """An order to resolve the fault of a mirror.

    Attributes:
        topic: Its source topic.
        how: One of `How`, as the caller wrote it.
        partitions: The partitions; empty: all that have stopped.
        digest: Of the plan that was confirmed; None: whatever the facts are now.
        expected_epoch: The order is refused if the flow is at another epoch; None: at any epoch.
        flow_uid: Uid of the flow that is meant; empty: any flow of that name.
        alone: Whether only what this daemon itself copies is meant.
    """

    flow: str
    topic: str
    how: str
    partitions: Collection[int] = ()
    reason: str = ""
    digest: str | None = None
    expected_epoch: int | None = None
    flow_uid: str = ""
    alone: bool = False

    def order(self, actor: str) -> ResolutionOrder:
        """Return what an operator wants.

        Raises:
            UsageError: There is no such way to resolve a fault.
        """
        try:
            how = How(self.how)
        except ValueError:
            raise UsageError(
                f"a fault cannot be resolved by {self.how!r}", next_step=f"use one of {', '.join(How)}"
            ) from None
        return ResolutionOrder(self.topic, how, tuple(self.partitions), actor, self.reason, self.digest)


@dataclass(frozen=True, slots=True)
class SwitchRequest:
    """An order to switch a flow.

    Attributes:
        verb: One of `Verb`, as the caller wrote it.
        id: Chosen by the caller: the same id again is the same order.
        topics: Source topics of the mirrors to switch; empty: the whole flow.
        options: What the caller chose.
        expected_epoch: The order is refused if the flow is at another epoch; None: at any epoch.
    """

    flow: str
    verb: str
    id: str
    topics: Collection[str] = ()
    options: Options = field(default_factory=Options)
    reason: str = ""
    expected_epoch: int | None = None

    @property
    def role(self) -> AccessRole:
        """The role that this order needs."""
        return AccessRole.FAILOVER if self.verb == Verb.FAILOVER else AccessRole.OPERATE

    @property
    def changes_both(self) -> bool:
        """Whether it changes the reverse flow, too."""
        return bool(self.options.reverse_flow) or self.verb == Verb.FAILBACK

    def order(self, actor: str) -> SwitchOrder:
        """Return what an operator wants.

        Raises:
            UsageError: There is no such switch, or its id is not valid.
        """
        try:
            verb = Verb(self.verb)
        except ValueError:
            raise UsageError(f"there is no switch {self.verb!r}") from None
        if not _ID.fullmatch(self.id):
            raise UsageError(
                "a switch needs a request id: 1 to 64 letters, digits, '.', '_' or '-'",
                why="it tells a repeated order from a new one, and becomes the id of the switch",
            )
        return SwitchOrder(
            self.id,
            verb,
            flow=self.flow,
            topics=tuple(self.topics),
            options=self.options,
            actor=actor,
            reason=said(self.reason, _REASON_CHARS_MAX),
        )
