"""What the outside (gRPC, HTTP) may ask of a daemon, and the look-ups both sides share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from replicator.errors import Conflict, ReplicatorError, UsageError
from replicator.model.damage import Clearing, Damage, Damaged
from replicator.model.events import Desired, Event
from replicator.model.forget import Forgotten
from replicator.model.groups import GroupStatus
from replicator.model.report import Report
from replicator.model.resolution import Order, Resolution
from replicator.model.status import DaemonStatus, FlowStatus, MirrorStatus
from replicator.model.switch.status import BothSides, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import Order as SwitchOrder
from replicator.model.text import said
from replicator.model.translation import OffsetQuestion, TimeQuestion, Translation

_UID_CHARS_MAX = 64
QUESTIONS_MAX = 10_000
"""About offsets, in one call."""


class ControlPort(Protocol):
    """The daemon as its servers see it. All of it is called on the daemon's event loop."""

    async def snapshot(self) -> DaemonStatus:
        """Return what the daemon knows now; waits for nobody, but lets others run in large flows."""
        ...

    async def set_desired(self, flow: str, desired: Desired, *, actor: str, reason: str) -> bool:
        """Pause or resume a flow; return whether that changed anything.

        Raises:
            ReplicatorError: It could not be recorded on the target, or the flow is not run here.
        """
        ...

    async def resolve(self, flow: str, order: Order, *, dry_run: bool, alone: bool) -> Resolution:
        """Resolve the fault of a mirror of a flow; with `dry_run` only tell what that would do.

        Raises:
            HeldElsewhere: Another daemon copies what stands still, and is to be asked; never raised with `alone`.
            ReplicatorError: It cannot be resolved like this, or the flow is not run here.
        """
        ...

    async def whole_snapshot(self, flow: str | None) -> DaemonStatus:
        """Return the same of all flows, or of one, with what other daemons tell of the partitions they copy.

        One that does not answer within seconds is named in the flow's reason.
        """
        ...

    async def translate(
        self, flow: str, questions: Sequence[OffsetQuestion], *, reverse: bool, alone: bool
    ) -> Sequence[Translation]:
        """Return where source offsets stand on the target, or with `reverse` target offsets on the source.

        One answer per question, in their order. Of partitions that other daemons copy these are asked, unless `alone`.

        Raises:
            UsageError: The flow has no such topic or partition, or is not run here.
            ReplicatorError: The flow is not up.
        """
        ...

    async def translate_time(self, flow: str, question: TimeQuestion) -> Sequence[Translation]:
        """Return where a moment of the source stands on the target, one answer for each partition that is asked about.

        Raises:
            UsageError: The flow has no such topic or partition, or is not run here.
            ReplicatorError: The flow is not up.
        """
        ...

    async def translate_group(self, flow: str, group: str, *, reverse: bool) -> Sequence[Translation]:
        """Do the same with all that a consumer group has committed there: on the source, or with `reverse` the target.

        Raises:
            UsageError: The group has committed nothing of this flow's topics.
            ReplicatorError: The group cannot be read, or the flow is not up.
        """
        ...

    async def rehearse(self, flow: str) -> Report:
        """Look whether a flow could be moved to its other side now; changes nothing.

        Raises:
            ReplicatorError: The flow is not run here.
        """
        ...

    def reverse_of(self, flow: str) -> str:
        """Return the flow that goes the other way, empty where there is none; never waits.

        Raises:
            UsageError: The flow is not run here.
        """
        ...

    async def forget(self, flow: str, topic: str | None, *, may: Callable[[str], None], dry_run: bool) -> Forgotten:
        """Remove what is recorded of a mirror that is not copied any more, or of a flow that nobody runs.

        A flow may be named by its uid; `may` is then asked about its name, before anything is told or done.

        Raises:
            ReplicatorError: It is copied, it may be, or it is not ours; or a cluster cannot be asked.
        """
        ...

    async def damaged(self, flow: str, *, may: Callable[[str | None], None]) -> Damage:
        """Return what is recorded of a flow and cannot be read.

        A flow may be named by its uid; `may` is asked about its name, or about all flows (None) where its own record
        does not tell that, before anything is told.

        Raises:
            ReplicatorError: There is no such flow, or the clusters that may hold it cannot be asked.
        """
        ...

    async def clear_damaged(self, flow: str, order: Clearing, *, may: Callable[[str | None], None]) -> Damaged:
        """Clear one such record if it is still the one that was shown; return what it was.

        Raises:
            Conflict: It is another one by now.
            PreflightFailed: It takes its key a second time.
            ReplicatorError: It is another flow's, or cannot be cleared.
        """
        ...

    async def plan_switch(self, flow: str, order: SwitchOrder) -> SwitchPlan:
        """Return what an order to switch a flow would do; nothing is changed.

        Raises:
            ReplicatorError: It cannot be meant, or the flow is not run here.
        """
        ...

    async def start_switch(self, flow: str, order: SwitchOrder) -> tuple[SwitchStatus | None, bool]:
        """Order a switch; return it, and whether it was under way or done already.

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
        """Return how a switch of a flow left both sides, and the switches of the flow that goes back.

        Raises:
            UsageError: The flow has no such switch, or is not run here.
            ReplicatorError: A cluster cannot be asked.
        """
        ...

    async def abort_switch(self, flow: str, why: str, *, target_lost: bool) -> SwitchStatus:
        """Undo the running switch; with `target_lost` open its source again, which alone decides that.

        Raises:
            ReplicatorError: It cannot be undone, or the flow is not run here.
        """
        ...

    async def confirm_switch(self, flow: str, confirm: str) -> SwitchStatus:
        """Agree to what a failback does with topics that hold more than was copied.

        Raises:
            ReplicatorError: Nothing waits for that, or the flow is not run here.
        """
        ...

    def groups(self, flow: str) -> tuple[Sequence[GroupStatus], str | None]:
        """Return how far each consumer group has followed, by name, and what holds all of them back; never waits.

        Raises:
            UsageError: The flow is not run here.
            ReplicatorError: Which groups there are is unknown: it is not up, or they were not read yet.
        """
        ...

    def events(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """Return at most `limit` recent events of a flow (or of one of its source topics), newest last."""
        ...


def find_flow(status: DaemonStatus, name: str, uid: str = "") -> FlowStatus:
    """Return the flow of that name.

    Args:
        status: What the daemon runs.
        name: Of the flow.
        uid: Which flow of that name a daemon means that asks; empty: whichever is run here.

    Raises:
        UsageError: No such flow; the nearest name is offered.
        Conflict: The flow of that name is another one.
    """
    for flow in status.flows:
        if flow.flow == name:
            if uid and flow.flow_uid != uid:
                raise Conflict(
                    f"flow {name!r} of this daemon is not the one that is asked about",
                    why=f"its uid is {flow.flow_uid or 'not known yet'}, not {said(uid, _UID_CHARS_MAX)}: it has "
                    "another source or target",
                    next_step="give daemons of different flows addresses of their own (daemon.rpc)",
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
        ReplicatorError: Which mirrors there are is unknown: the flow is not up, or another daemon runs it.
    """
    for mirror in flow.mirrors:
        if mirror.topic == topic:
            return mirror
    if flow.flow_uid is None:
        raise ReplicatorError(
            f"which topics flow {flow.flow!r} mirrors is not known here",
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
        why="groups follow that are meant by the flow file and have committed offsets of its topics",
        next_step=_suggestion(name, (group.group for group in groups), f"replicator group list {flow}"),
    )


def _suggestion(name: str, known: Iterable[str], command: str) -> str:
    # A mistake is rare and difflib is not needed otherwise: it stays out of the start-up time.
    from difflib import get_close_matches  # noqa: PLC0415

    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}? `{command}` shows them all" if near else f"`{command}` shows them all"
