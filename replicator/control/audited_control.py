"""The orders that a daemon takes, whichever face they come through: one object below gRPC and HTTP.

Each order takes the same path. First it is checked whether its caller may change that flow; a refusal is recorded.
Then the order waits for its turn to change that thing, and is checked against the facts its caller saw. The audit log
has its intent before it is carried out, and its outcome afterwards.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import replace

from replicator.control.access import Access
from replicator.control.audited import AuditPort, audited, record_refusal
from replicator.control.caller import Caller
from replicator.control.port import ControlPort, find_flow, find_mirror
from replicator.control.questions import Questions
from replicator.control.requests import DesiredRequest, ResolveRequest, SwitchRequest
from replicator.errors import AccessDenied, Conflict
from replicator.model.access_rules import AccessRole
from replicator.model.operations.audit import AuditEntry, Phase
from replicator.model.operations.damage import Clearing, Damaged
from replicator.model.operations.forget import Forgotten
from replicator.model.operations.lineage import RepointReport
from replicator.model.operations.resolution import Resolution
from replicator.model.status.events import Desired
from replicator.model.status.snapshots import FlowStatus
from replicator.model.switch.status import SwitchPlan, SwitchStatus
from replicator.model.switch.terms import SwitchOrder
from replicator.model.text import said

_REMEMBERED_REQUESTS_MAX = 1024
_KEY_CHARS_MAX = 1200
"""For a record's key in hex, in the audit log; those of groups may be longer."""


class AuditedControl(Questions):
    """The orders of all faces of one daemon, and their questions.

    A daemon has exactly one: two would not wait for each other, nor know each other's answers.

    Args:
        control: The daemon.
        audit: Its audit log.
        access: What callers may do.

    Every order may raise:
        AccessDenied: The caller cannot be identified, or may not do this.
        UsageError: There is no such flow, or the order makes no sense.
        Conflict: Someone else is changing the same thing, or has changed it in the meantime.
        StoreError: The audit log cannot be written: nothing is done. Or it was done, and the error says so.
        ReplicatorError: Whatever the daemon raised.
    """

    def __init__(self, control: ControlPort, audit: AuditPort, access: Access) -> None:
        super().__init__(control, audit, access)
        self._answered: OrderedDict[tuple[str, str, Desired], bool] = OrderedDict()

    async def set_desired(self, caller: Caller, request: DesiredRequest) -> bool:
        """Pause or resume; return whether that changed anything. A repeated request id is answered from memory."""
        entry = _entry("SetDesired", request.flow, request.reason, after=request.desired.value)
        entry = await self._permitted(caller, entry)
        # One change at a time: a repeated request must find the answer of the first, even if it overtakes it.
        async with self._turn(caller, entry, "desired", request.flow):
            key = (request.request_id, request.flow, request.desired)
            if request.request_id and key in self._answered:
                return self._answered[key]
            flow = await self._at_epoch(request.flow, request.expected_epoch)
            async with audited(self._audit, replace(entry, before=flow.state)):
                changed = await self._control.set_desired(
                    request.flow, request.desired, actor=entry.actor, reason=request.reason
                )
            if request.request_id:
                self._answered[key] = changed
                while len(self._answered) > _REMEMBERED_REQUESTS_MAX:
                    self._answered.popitem(last=False)
            return changed

    async def resolve(self, caller: Caller, request: ResolveRequest, *, dry_run: bool) -> Resolution:
        """Resolve a fault, or report what that would do; for a resolved fault there is nothing to do."""
        entry = _entry("ResolveMirror", request.flow, request.reason, topic=request.topic)
        entry = await self._permitted(caller, entry)
        order = request.order(entry.actor)
        if dry_run:
            await self._mirror(request)
            return await self._control.resolve(request.flow, order, dry_run=True, alone=request.alone)
        async with self._turn(caller, entry, "mirror", request.flow, request.topic):
            before = await self._mirror(request)
            async with audited(self._audit, replace(entry, before=before, after=order.how)) as change:
                done = await self._control.resolve(request.flow, order, dry_run=False, alone=request.alone)
                change.after = "; ".join([order.how, *map(str, done.losses)]) if done.reasons else "nothing to do"
        return done

    async def forget(self, caller: Caller, flow: str, topic: str, *, reason: str, dry_run: bool) -> Forgotten:
        """Remove the records of a mirror or (no topic) a flow; if they are gone there is nothing to do."""
        entry = await self._permitted(caller, _entry("Forget", flow, reason, topic=topic))

        def may(name: str) -> None:
            self._may(caller, name, AccessRole.OPERATE)

        if dry_run:
            return await self._control.forget(flow, topic or None, may=may, dry_run=True)
        async with (
            self._turn(caller, entry, "forget", flow, topic),
            audited(self._audit, replace(entry, after="forgotten")) as change,
        ):
            done = await self._control.forget(flow, topic or None, may=may, dry_run=False)
            change.after = f"{done.records} records removed" if done.records else "nothing to do"
        return done

    async def repoint(self, caller: Caller, flow: str, to: str, *, reason: str, dry_run: bool) -> RepointReport:
        """Move a flow to another source, or report what that would mean."""
        entry = await self._permitted(caller, _entry("Repoint", flow, reason))
        actor = entry.actor
        if dry_run:
            return await self._control.repoint(flow, to, actor=actor, reason=reason, dry_run=True)
        async with (
            self._turn(caller, entry, "repoint", flow),
            audited(self._audit, replace(entry, after=f"copies from {said(to)}")) as change,
        ):
            done = await self._control.repoint(flow, to, actor=actor, reason=reason, dry_run=False)
            change.after = f"from {done.source} to {done.to}: {done.status}"
        return done

    async def clear_damaged(self, caller: Caller, flow: str, order: Clearing, *, reason: str) -> Damaged:
        """Clear a record that cannot be read; return what it was."""
        entry = await self._permitted(caller, _entry("ClearDamaged", flow, reason))
        entry = replace(
            entry,
            before=f"record {said(order.key, _KEY_CHARS_MAX)} at offset {order.offset} on {said(order.cluster)}",
        )
        async with (
            self._turn(caller, entry, "clear", flow),
            audited(self._audit, replace(entry, after="cleared")) as change,
        ):
            done = await self._control.clear_damaged(
                flow, order, may=lambda name: self._may(caller, name, AccessRole.OPERATE)
            )
            change.after = f"{done.what} cleared"
        return done

    async def plan_switch(self, caller: Caller, request: SwitchRequest) -> SwitchPlan:
        """Return what an order to switch would do; it needs the same rights as the order."""
        _, order = await self._switch_order(caller, request)
        await self._at_epoch(request.flow, request.expected_epoch)
        return await self._control.plan_switch(request.flow, order)

    async def start_switch(self, caller: Caller, request: SwitchRequest) -> tuple[SwitchStatus | None, bool]:
        """Order a switch; return it, and whether it was under way or done. The same request id twice is one order."""
        entry, order = await self._switch_order(caller, request)
        # One turn per verb: a switchover that waits for a source that has just died must not hold up the failover.
        async with self._turn(caller, entry, "switch", request.flow, request.verb):
            before = (await self._at_epoch(request.flow, request.expected_epoch)).state
            async with audited(self._audit, replace(entry, before=before, after=order.verb)) as change:
                switch, already = await self._control.start_switch(request.flow, order)
                change.after = "nothing to do" if already or switch is None else f"{order.verb} {switch.id} ordered"
        return switch, already

    async def _switch_order(self, caller: Caller, request: SwitchRequest) -> tuple[AuditEntry, SwitchOrder]:
        """Return the order and who gives it, if they may change each flow that it affects."""
        entry = _entry("StartSwitch", request.flow, request.reason)
        entry = await self._permitted(caller, entry, request.role)
        order = request.order(entry.actor)
        other = self._control.reverse_of(request.flow) if request.changes_both else ""
        if other:  # it changes, too: it begins to copy, or is switched over
            await self._permitted(caller, replace(entry, flow=other))
        return entry, order

    async def abort_switch(self, caller: Caller, flow: str, *, reason: str, target_lost: bool) -> SwitchStatus:
        """Undo the running switch; with `target_lost` reopen its source."""
        entry = _entry("AbortSwitch", flow, reason)
        entry = await self._permitted(caller, entry, AccessRole.FAILOVER if target_lost else AccessRole.OPERATE)
        async with self._turn(caller, entry, "switch", flow, entry.method):
            before = (await self._at_epoch(flow, None)).state
            wanted = "open the source again" if target_lost else "abort"
            async with audited(self._audit, replace(entry, before=before, after=wanted)) as change:
                why = f"{entry.actor}: {reason}" if reason else f"ordered by {entry.actor}"
                switch = await self._control.abort_switch(flow, why, target_lost=target_lost)
                change.after = f"{switch.verb} {switch.id}: {switch.direction}, {switch.outcome}"
            return switch

    async def confirm_switch(self, caller: Caller, flow: str, confirm: str) -> SwitchStatus:
        """Agree to what a failback found."""
        entry = await self._permitted(caller, _entry("ConfirmSwitch", flow))
        async with self._turn(caller, entry, "switch", flow, entry.method):
            before = (await self._at_epoch(flow, None)).state
            async with audited(self._audit, replace(entry, before=before, after=confirm)) as change:
                switch = await self._control.confirm_switch(flow, confirm)
                change.after = "; ".join(f"{one.topic}: {one.how}" for one in switch.restorations)
            return switch

    async def _permitted(self, caller: Caller, entry: AuditEntry, role: AccessRole = AccessRole.OPERATE) -> AuditEntry:
        """Return the entry with its actor, if the actor may change the flow that it is about.

        Raises:
            AccessDenied: The caller cannot be identified, or may not do this; recorded, at a limited rate.
        """
        entry = replace(entry, peer=caller.peer)
        try:
            actor = self._access.check(caller, entry.flow, role)
        except AccessDenied as error:
            party = self._access.party(caller)
            left_out = self._access.refusals.report(party, entry.method)
            if left_out is not None:
                await record_refusal(self._audit, replace(entry, actor=party, actor_known_by=""), error, left_out)
            raise
        return replace(entry, actor=actor.name, actor_known_by=actor.known_by)

    def _turn(self, caller: Caller, entry: AuditEntry, *what: str) -> contextlib.AbstractAsyncContextManager[None]:
        return self._turns.of(*what, who=f"{entry.method} by {entry.actor}", seconds=caller.seconds_left())

    async def _mirror(self, request: ResolveRequest) -> str:
        """Return the state of the requested mirror, in words."""
        flow = await self._at_epoch(request.flow, request.expected_epoch, request.flow_uid)
        mirror = find_mirror(flow, request.topic)
        return f"{mirror.state}{f' ({mirror.reason})' if mirror.reason else ''}"

    async def _at_epoch(self, name: str, expected: int | None, uid: str = "") -> FlowStatus:
        """Return a flow, if it is at the epoch that the caller saw; None: at any epoch.

        Raises:
            UsageError: There is no flow of that name.
            Conflict: It is a different flow, or at another epoch.
        """
        flow = find_flow(await self._control.snapshot(), name, uid)
        if expected is not None and expected != flow.epoch:
            raise Conflict(
                f"flow {flow.flow!r} is at epoch {flow.epoch}, not {expected}",
                why="who may write has changed in the meantime",
                next_step=f"look at `replicator flow status {flow.flow}` and decide again",
            )
        return flow


def _entry(method: str, flow: str, reason: str = "", *, topic: str = "", after: str = "") -> AuditEntry:
    return AuditEntry(0, "", Phase.INTENT, method=method, flow=flow, topic=topic, reason=reason, after=after)
