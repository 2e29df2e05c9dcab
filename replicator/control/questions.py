"""The questions that a daemon answers: each for one caller, with what that caller may see."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from replicator.control.access import Access
from replicator.control.audited import AuditPort
from replicator.control.caller import Caller
from replicator.control.order_turns import OrderTurns
from replicator.control.port import QUESTIONS_MAX, ControlPort, find_flow, find_group
from replicator.errors import UsageError
from replicator.model.access_rules import AccessRole
from replicator.model.operations.audit import AuditEntry
from replicator.model.operations.damage import Damage
from replicator.model.operations.report import Report
from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation
from replicator.model.status.events import Event
from replicator.model.status.groups import GroupStatus
from replicator.model.status.snapshots import DaemonStatus, FlowStatus
from replicator.model.switch.status import BothSides, SwitchStatus
from replicator.model.units import TIME_MS_MAX

_ENTRIES_DEFAULT = 50
_ENTRIES_MAX = 1000


class Questions:
    """The questions of all faces of one daemon.

    Args:
        control: The daemon.
        audit: Its audit log.
        access: What callers may do.

    Every method may raise:
        AccessDenied: The caller may not read that.
        UsageError: There is no such flow, or the question makes no sense.
        ReplicatorError: Whatever the daemon raised.
    """

    def __init__(self, control: ControlPort, audit: AuditPort, access: Access) -> None:
        self._control = control
        self._audit = audit
        self._access = access
        self._turns = OrderTurns()

    async def status(self, caller: Caller, flow: str = "", uid: str = "") -> DaemonStatus:
        """Return what the caller may see of one flow or all (empty), with what other daemons report.

        Raises:
            Conflict: The flow of that name is not the one of that uid.
        """
        if flow:
            self._access.check(caller, flow, AccessRole.OBSERVE)
        status = self._access.visible(caller, await self._control.whole_snapshot(flow or None))
        if flow:
            known = status if status.flows else self._access.visible(caller, await self._control.snapshot())
            find_flow(known, flow, uid)
        return status

    async def own_status(self, caller: Caller, flow: str = "", uid: str = "") -> DaemonStatus:
        """Return the same, as far as this daemon alone knows it.

        Raises:
            Conflict: The flow of that name is not the one of that uid.
        """
        if flow:
            self._access.check(caller, flow, AccessRole.OBSERVE)
        status = self._access.visible(caller, await self._control.snapshot())
        return replace(status, flows=(find_flow(status, flow, uid),)) if flow else status

    async def switches(
        self, caller: Caller, flow: str, sides_of: str = ""
    ) -> tuple[Sequence[SwitchStatus], BothSides | None]:
        """Return the switches of a flow, newest last, and how one of them (by its id) left both sides."""
        await self._flow(caller, flow)
        sides = await self._control.both_sides(flow, sides_of) if sides_of else None
        return self._control.switches(flow), sides

    async def entries(self, caller: Caller, flow: str, limit: int) -> Sequence[AuditEntry]:
        """Return the last entries of the audit log about one flow or all (empty); a limit of 0 is the default."""
        if flow:
            self._access.check(caller, flow, AccessRole.OBSERVE)
        else:
            self._access.check_known(caller)
        sees = self._access.sees(caller)
        return await asyncio.to_thread(self._audit.recent, lambda name: flow in {"", name} and sees(name), _some(limit))

    async def rehearse(self, caller: Caller, flow: str) -> Report:
        """Return whether a flow could be switched now."""
        await self._flow(caller, flow)
        return await self._control.rehearse(flow)

    async def events(self, caller: Caller, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """Return recent events of a flow or of one of its topics, newest last; a limit of 0 is the default."""
        await self._flow(caller, flow)
        return await asyncio.to_thread(self._control.events, flow, topic, _some(limit))

    async def translate(
        self,
        caller: Caller,
        flow: str,
        questions: Sequence[OffsetQuestion] = (),
        *,
        group: str = "",
        reverse: bool,
        alone: bool = False,
        uid: str = "",
    ) -> Sequence[Translation]:
        """Return an answer to each question in order, or for all that a group has committed.

        Args:
            caller: Who asks.
            flow: The flow.
            questions: 1 to 10,000; not read before the caller is known to be allowed, and their number to be valid.
            group: Instead of questions.
            reverse: Whether they are about the target.
            alone: Whether other daemons are left out of it.
            uid: Uid of the flow that is meant; empty: any flow of that name.

        Raises:
            Conflict: The flow of that name is not the one of that uid.
        """
        await self._flow(caller, flow, uid)
        if bool(group) == bool(questions) or len(questions) > QUESTIONS_MAX:
            raise UsageError(
                f"a call takes either one group, or 1 to {QUESTIONS_MAX:,} questions",
                why=f"it has {len(questions):,} questions" + (" and a group" if group else ""),
            )
        if group:
            return await self._control.translate_group(flow, group, reverse=reverse)
        return await self._control.translate(flow, list(questions), reverse=reverse, alone=alone)

    async def translate_time(self, caller: Caller, flow: str, question: TimeQuestion) -> Sequence[Translation]:
        """Return an answer for each requested partition."""
        await self._flow(caller, flow)
        if not 0 <= question.time_ms <= TIME_MS_MAX:
            raise UsageError(f"{question.time_ms} is not a time", why="times are in ms since 1970, up to year 9999")
        return await self._control.translate_time(flow, question)

    async def groups(self, caller: Caller, flow: str) -> tuple[Sequence[GroupStatus], str | None]:
        """Return the groups of a flow, and what holds all of them back."""
        await self._flow(caller, flow)
        return self._control.groups(flow)

    async def group(self, caller: Caller, flow: str, name: str) -> GroupStatus:
        """Return one of them."""
        groups, _ = await self.groups(caller, flow)
        return find_group(flow, groups, name)

    async def damaged(self, caller: Caller, flow: str) -> Damage:
        """Return the records of a flow that cannot be read; its topics are read for one caller at a time.

        Raises:
            Conflict: Another caller's read is still running.
        """
        self._access.check_known(caller)
        async with self._turns.of("damaged", who="a look at what is damaged", seconds=caller.seconds_left()):
            return await self._control.damaged(flow, may=lambda name: self._may(caller, name, AccessRole.OBSERVE))

    def _may(self, caller: Caller, flow: str | None, role: AccessRole) -> None:
        """Return if the caller has a role for the flow of that name, or for all of them.

        Raises:
            AccessDenied: The caller does not.
        """
        self._access.check(caller, flow, role)

    async def _flow(self, caller: Caller, name: str, uid: str = "") -> FlowStatus:
        """Return a flow that the caller may read; others are not even suggested by name.

        Raises:
            AccessDenied: The caller may not read this one.
            UsageError: There is no flow of that name.
            Conflict: The flow of that name is a different one.
        """
        self._access.check(caller, name, AccessRole.OBSERVE)
        return find_flow(self._access.visible(caller, await self._control.snapshot()), name, uid)


def _some(limit: int) -> int:
    """Return how many entries to return: as many as were requested, within bounds."""
    return min(max(limit, 0) or _ENTRIES_DEFAULT, _ENTRIES_MAX)
