"""What the outside (gRPC, HTTP) may ask of a daemon, and the lookups that both sides share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from replicator.errors import Conflict, ReplicatorError, UsageError
from replicator.model.operations.damage import Clearing, Damage, Damaged
from replicator.model.operations.forget import Forgotten
from replicator.model.operations.lineage import RepointReport
from replicator.model.operations.report import Report
from replicator.model.operations.resolution import Resolution, ResolutionOrder
from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation
from replicator.model.status.events import Desired, Event
from replicator.model.status.groups import GroupStatus
from replicator.model.status.snapshots import DaemonStatus, FlowStatus, MirrorStatus
from replicator.model.switch.status import BothSides, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import SwitchOrder
from replicator.model.text import said

_UID_CHARS_MAX = 64
QUESTIONS_MAX = 10_000
"""Questions about offsets, in one call."""


class ControlPort(Protocol):
    """The daemon as its servers see it. Every method is called on the daemon's event loop."""

    async def snapshot(self) -> DaemonStatus:
        """Return what the daemon knows now; never waits, but lets other tasks run if flows are large."""
        ...

    async def set_desired(self, flow: str, desired: Desired, *, actor: str, reason: str) -> bool:
        """Pause or resume a flow; return whether that changed anything.

        Raises:
            ReplicatorError: It could not be recorded on the target, or the flow is not run here.
        """
        ...

    async def resolve(self, flow: str, order: ResolutionOrder, *, dry_run: bool, alone: bool) -> Resolution:
        """Resolve the fault of a mirror of a flow; with `dry_run` only report what that would do.

        Raises:
            HeldElsewhere: Another daemon copies what has stopped, and has to be asked; never raised with `alone`.
            ReplicatorError: It cannot be resolved like this, or the flow is not run here.
        """
        ...

    async def whole_snapshot(self, flow: str | None) -> DaemonStatus:
        """Return the status of all flows or of one, with what other daemons report of the partitions they copy.

        A daemon that does not answer within seconds is named in the flow's reason.
        """
        ...

    async def translate(
        self, flow: str, questions: Sequence[OffsetQuestion], *, reverse: bool, alone: bool
    ) -> Sequence[Translation]:
        """Translate source offsets to the target, or with `reverse` target offsets to the source.

        One answer per question, in order. Other daemons are asked about partitions that they copy, unless `alone`.

        Raises:
            UsageError: The flow has no such topic or partition, or is not run here.
            ReplicatorError: The flow is not up.
        """
        ...

    async def translate_time(self, flow: str, question: TimeQuestion) -> Sequence[Translation]:
        """Translate a point in time on the source to target offsets, one answer per requested partition.

        Raises:
            UsageError: The flow has no such topic or partition, or is not run here.
            ReplicatorError: The flow is not up.
        """
        ...

    async def translate_group(self, flow: str, group: str, *, reverse: bool) -> Sequence[Translation]:
        """Translate all that a consumer group has committed on the source, or with `reverse` on the target.

        Raises:
            UsageError: The group has committed nothing in this flow's topics.
            ReplicatorError: The group cannot be read, or the flow is not up.
        """
        ...

    async def rehearse(self, flow: str) -> Report:
        """Check whether a flow could be switched now; changes nothing.

        Raises:
            ReplicatorError: The flow is not run here.
        """
        ...

    def reverse_of(self, flow: str) -> str:
        """Return the flow in the other direction, empty if there is none; never waits.

        Raises:
            UsageError: The flow is not run here.
        """
        ...

    async def forget(self, flow: str, topic: str | None, *, may: Callable[[str], None], dry_run: bool) -> Forgotten:
        """Remove the records of a mirror that is no longer copied, or of a flow that nobody runs.

        A flow may be named by its uid; `may` is then asked about its name, before anything is revealed or done.

        Raises:
            ReplicatorError: It is copied, may be copied, or is not ours; or a cluster cannot be asked.
        """
        ...

    async def repoint(self, flow: str, to: str, *, actor: str, reason: str, dry_run: bool) -> RepointReport:
        """Order a flow to copy from another cluster of the flow file, and return what that means.

        It goes on in place wherever its target holds what that cluster holds at the same offsets.

        Raises:
            ReplicatorError: The flow is not run here, cannot be moved there, or a cluster cannot be asked.
        """
        ...

    async def damaged(self, flow: str, *, may: Callable[[str | None], None]) -> Damage:
        """Return the records of a flow that cannot be read.

        A flow may be named by its uid; before anything is revealed, `may` is asked about its name, or about all flows
        (None) if its own record does not say the name.

        Raises:
            ReplicatorError: There is no such flow, or the clusters that may hold it cannot be asked.
        """
        ...

    async def clear_damaged(self, flow: str, order: Clearing, *, may: Callable[[str | None], None]) -> Damaged:
        """Clear one such record, unless it has changed since it was shown; return what it was.

        Raises:
            Conflict: It has changed.
            PreflightFailed: Its key has to be given twice.
            ReplicatorError: It belongs to another flow, or cannot be cleared.
        """
        ...

    async def plan_switch(self, flow: str, order: SwitchOrder) -> SwitchPlan:
        """Return what an order to switch a flow would do; nothing is changed.

        Raises:
            ReplicatorError: It makes no sense, or the flow is not run here.
        """
        ...

    async def start_switch(self, flow: str, order: SwitchOrder) -> tuple[SwitchStatus | None, bool]:
        """Order a switch; return it, and whether it was already under way or done.

        Raises:
            ReplicatorError: It cannot be begun, or the flow is not run here.
        """
        ...

    def switches(self, flow: str) -> Sequence[SwitchStatus]:
        """Return the switches of a flow, newest last; never waits.

        Raises:
            ReplicatorError: They are not known yet, or the flow is not run here.
        """
        ...

    async def both_sides(self, flow: str, switch_id: str) -> BothSides:
        """Return how a switch of a flow left both sides, and the switches of the reverse flow.

        Raises:
            UsageError: The flow has no such switch, or is not run here.
            ReplicatorError: A cluster cannot be asked.
        """
        ...

    async def abort_switch(self, flow: str, why: str, *, target_lost: bool) -> SwitchStatus:
        """Undo the running switch; with `target_lost` reopen its source, which alone decides that.

        Raises:
            ReplicatorError: It cannot be undone, or the flow is not run here.
        """
        ...

    async def confirm_switch(self, flow: str, confirm: str) -> SwitchStatus:
        """Agree to what a failback does with topics that hold more than was copied.

        Raises:
            ReplicatorError: Nothing waits for a confirmation, or the flow is not run here.
        """
        ...

    def groups(self, flow: str) -> tuple[Sequence[GroupStatus], str | None]:
        """Return how far each consumer group has followed, by name, and what holds all of them back; never waits.

        Raises:
            UsageError: The flow is not run here.
            ReplicatorError: The groups are not known: the flow is not up, or they were not read yet.
        """
        ...

    def events(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """Return at most `limit` recent events of a flow (or of one of its source topics), newest last."""
        ...


def find_flow(status: DaemonStatus, name: str, uid: str = "") -> FlowStatus:
    """Return the flow of that name.

    Args:
        status: What the daemon runs.
        name: Name of the flow.
        uid: Uid of the flow that the asking daemon means; empty: any flow of that name.

    Raises:
        UsageError: No such flow; the nearest name is offered.
        Conflict: The flow of that name is a different one.
    """
    for flow in status.flows:
        if flow.flow == name:
            if uid and flow.flow_uid != uid:
                raise Conflict(
                    f"flow {name!r} of this daemon is not the one in the request",
                    why=f"its uid is {flow.flow_uid or 'not known yet'}, not {said(uid, _UID_CHARS_MAX)}: it has "
                    "another source or target",
                    next_step="give daemons of different flows different addresses (daemon.rpc)",
                )
            return flow
    raise UsageError(
        f"there is no flow named {name!r}",
        next_step=_suggestion(name, (flow.flow for flow in status.flows), "replicator flow list"),
    )


def find_mirror(flow: FlowStatus, topic: str) -> MirrorStatus:
    """Return the mirror whose source topic has that name.

    Raises:
        UsageError: No such mirror; the nearest name is offered.
        ReplicatorError: The mirrors are not known: the flow is not up, or another daemon runs it.
    """
    for mirror in flow.mirrors:
        if mirror.topic == topic:
            return mirror
    if flow.flow_uid is None:
        raise ReplicatorError(
            f"the topics of flow {flow.flow!r} are not known here",
            why=flow.reason or "it is not up",
            next_step=f"replicator flow status {flow.flow}",
        )
    raise UsageError(
        f"flow {flow.flow!r} mirrors no topic named {topic!r}",
        next_step=_suggestion(topic, (mirror.topic for mirror in flow.mirrors), f"replicator mirror list {flow.flow}"),
    )


def find_group(flow: str, groups: Sequence[GroupStatus], name: str) -> GroupStatus:
    """Return the group of that name.

    Raises:
        UsageError: No such group; the nearest name is offered.
    """
    for group in groups:
        if group.group == name:
            return group
    raise UsageError(
        f"no group named {name!r} follows flow {flow!r}",
        why="a group follows if the flow file selects it and it has committed offsets in the flow's topics",
        next_step=_suggestion(name, (group.group for group in groups), f"replicator group list {flow}"),
    )


def _suggestion(name: str, known: Iterable[str], command: str) -> str:
    # Mistakes are rare and only they need difflib: it stays out of the start-up time.
    from difflib import get_close_matches  # noqa: PLC0415

    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}? `{command}` shows them all" if near else f"`{command}` shows them all"
