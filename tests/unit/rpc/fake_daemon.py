"""A daemon that obeys at once, for tests of servers and commands."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from replicator.errors import Conflict, PreflightFailed, ReplicatorError, StoreFull
from replicator.model.operations.audit import AuditEntry
from replicator.model.operations.damage import Clearing, Damage, Damaged
from replicator.model.operations.forget import Forgotten
from replicator.model.operations.lineage import RepointReport
from replicator.model.operations.report import Report, Section, ok, warn
from replicator.model.operations.resolution import Resolution, ResolutionOrder
from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation, TranslationState
from replicator.model.status.events import Desired, Event
from replicator.model.status.groups import GroupStatus
from replicator.model.status.snapshots import DaemonStatus
from replicator.model.status.states import FlowState
from replicator.model.switch.status import BothSides, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import Direction, Outcome, SwitchOrder, Verb
from tests.unit.rpc.samples import (
    BILLING,
    DAEMON,
    DAMAGED,
    EVENTS,
    FORGOTTEN,
    ORDERS,
    PLAN,
    REPOINTED,
    SHIPPING,
    SIDES,
    SKIPPED,
    SWITCH,
    TRANSLATIONS,
)


class KeptAudit:
    """An audit log in memory; `full` lets nothing be written."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.full = False

    def append(self, entry: AuditEntry) -> int:
        """Keep an entry."""
        if self.full:
            raise StoreFull("the audit log cannot be written", next_step="free disk space")
        self.entries.append(replace(entry, seq=len(self.entries) + 1, at="2026-11-20T08:00:00Z"))
        return len(self.entries)

    def recent(self, wanted: Callable[[str], bool], limit: int) -> Sequence[AuditEntry]:
        """Return the last ones."""
        return [entry for entry in self.entries if wanted(entry.flow)][-limit:]


def _directory() -> Path:
    """Return a state directory that goes with the tests."""
    path = Path(tempfile.mkdtemp(prefix="replicator-test-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@dataclass
class FakeDaemon:
    """A ControlPort that obeys at once and remembers who asked for what."""

    status: DaemonStatus = DAEMON
    asked: list[tuple[str, Desired, str, str]] = field(default_factory=list)
    resolved: list[tuple[str, ResolutionOrder]] = field(default_factory=list)
    moments: list[tuple[str, TimeQuestion]] = field(default_factory=list)
    questions: list[tuple[str, tuple[OffsetQuestion, ...] | str, bool]] = field(default_factory=list)
    audit: KeptAudit = field(default_factory=KeptAudit)
    refuse: Exception | None = None
    obey: bool = True
    groups_wait_for: str | None = None
    groups_found: tuple[GroupStatus, ...] = (BILLING, SHIPPING)
    problems: tuple[str, ...] = ()
    switched: list[tuple[str, SwitchOrder]] = field(default_factory=list)
    sides: BothSides = SIDES
    forgotten: list[tuple[str, str | None]] = field(default_factory=list)
    repointed: list[tuple[str, str]] = field(default_factory=list)
    damage: list[Damaged] = field(default_factory=lambda: list(DAMAGED))
    unasked: tuple[str, ...] = ()
    state_dir: Path = field(default_factory=_directory)
    named: dict[str, str] = field(default_factory=dict)
    """Names of flows by uid."""

    async def rehearse(self, flow: str) -> Report:
        """Find something of each level."""
        return Report((Section(f"flow {flow}", (ok("reachable", "west answers"), warn("rpo", "unknown", "look"))),))

    def reverse_of(self, flow: str) -> str:
        """Return the one flow that goes back."""
        return "west-to-east" if flow == "east-to-west" else ""

    async def damaged(self, flow: str, *, may: Callable[[str | None], None]) -> Damage:
        """Tell of what was not cleared."""
        may(self.named.get(flow, flow))
        if self.refuse is not None:
            raise self.refuse
        return Damage(tuple(self.damage), 0, self.unasked)

    async def clear_damaged(self, flow: str, order: Clearing, *, may: Callable[[str | None], None]) -> Damaged:
        """Clear it, once."""
        may(self.named.get(flow, flow))
        found = next((one for one in self.damage if (one.cluster, one.key) == (order.cluster, order.key)), None)
        if found is None or found.offset != order.offset:
            raise Conflict("it is not the record that was shown")
        if found.guarded and order.confirm != found.key:
            raise PreflightFailed("it requires its key a second time")
        self.damage.remove(found)
        return found

    async def forget(self, flow: str, topic: str | None, *, may: Callable[[str], None], dry_run: bool) -> Forgotten:
        """Remove it, once."""
        may(self.named.get(flow, flow))
        if self.refuse is not None:
            raise self.refuse
        if (flow, topic) in self.forgotten:
            return Forgotten()
        if not dry_run:
            self.forgotten.append((flow, topic))
        return FORGOTTEN

    async def repoint(self, flow: str, to: str, *, actor: str, reason: str, dry_run: bool) -> RepointReport:
        """Move it, once."""
        del actor, reason
        if self.refuse is not None:
            raise self.refuse
        if not dry_run:
            self.repointed.append((flow, to))
            flows = tuple(replace(one, source=to) if one.flow == flow else one for one in self.status.flows)
            self.status = replace(self.status, flows=flows)
        return replace(REPOINTED, flow=flow, to=to, status="would_move" if dry_run else "ordered")

    async def plan_switch(self, flow: str, order: SwitchOrder) -> SwitchPlan:
        """Tell of one that loses something."""
        del flow
        if self.refuse is not None:
            raise self.refuse
        return replace(PLAN, verb=order.verb, problems=self.problems)

    async def start_switch(self, flow: str, order: SwitchOrder) -> tuple[SwitchStatus | None, bool]:
        """Take it, once."""
        if self.refuse is not None:
            raise self.refuse
        self.switched.append((flow, order))
        already = any(one.verb is order.verb for _, one in self.switched[:-1])
        return replace(SWITCH, id=order.id, verb=order.verb, flow=flow), already

    def switches(self, flow: str) -> Sequence[SwitchStatus]:
        """Return those that were ordered, done at once."""
        return [replace(SWITCH, id=order.id, verb=order.verb, flow=flow) for _, order in self.switched]

    async def both_sides(self, flow: str, switch_id: str) -> BothSides:
        """Tell that the other side follows, with what was ordered of it."""
        del flow, switch_id
        return self.sides

    async def abort_switch(self, flow: str, why: str, *, target_lost: bool) -> SwitchStatus:
        """Undo it."""
        if self.refuse is not None:
            raise self.refuse
        return replace(
            SWITCH,
            flow=flow,
            outcome=Outcome.FAILED_FORWARD if target_lost else Outcome.ABORTED,
            direction=Direction.BACK if target_lost else Direction.ABORTING,
            stopped_by=why,
        )

    async def confirm_switch(self, flow: str, confirm: str) -> SwitchStatus:
        """Agree; there is still a lot to be done."""
        return replace(SWITCH, flow=flow, verb=Verb.FAILBACK, confirm=confirm, outcome=Outcome.RUNNING)

    async def whole_snapshot(self, flow: str | None) -> DaemonStatus:
        """Return the same: nobody else copies anything."""
        status = await self.snapshot()
        return replace(status, flows=tuple(one for one in status.flows if flow in {None, one.flow}))

    async def snapshot(self) -> DaemonStatus:
        """Return the current value."""
        if self.refuse is not None and not isinstance(self.refuse, ReplicatorError):
            raise self.refuse
        return self.status

    async def set_desired(self, flow: str, desired: Desired, *, actor: str, reason: str) -> bool:
        """Change the flow's state at once, unless told not to."""
        if self.refuse is not None:
            raise self.refuse
        self.asked.append((flow, desired, actor, reason))
        wanted = FlowState(desired)
        now = next(one for one in self.status.flows if one.flow == flow)
        if self.obey:
            flows = tuple(replace(one, state=wanted) if one is now else one for one in self.status.flows)
            self.status = replace(self.status, flows=flows)
        return now.state is not wanted

    async def resolve(self, flow: str, order: ResolutionOrder, *, dry_run: bool, alone: bool) -> Resolution:
        """Tell what skipping costs, or remember that it was ordered; a plan that was not told is refused."""
        assert not alone
        if self.refuse is not None:
            raise self.refuse
        if order.topic == ORDERS.topic:
            return Resolution(order.how)
        if not dry_run:
            if order.digest not in {None, SKIPPED.digest}:
                raise Conflict("not what was confirmed")
            self.resolved.append((flow, order))
        return SKIPPED

    async def translate(
        self, flow: str, questions: Sequence[OffsetQuestion], *, reverse: bool, alone: bool
    ) -> Sequence[Translation]:
        """Say that the target is 3 offsets ahead."""
        assert not alone
        self.questions.append((flow, tuple(questions), reverse))
        return [
            Translation(
                question.topic,
                question.topic,
                question.partition,
                question.offset - 3 * reverse,
                question.offset + 3 * (not reverse),
                TranslationState.EXACT,
            )
            for question in questions
        ]

    async def translate_time(self, flow: str, question: TimeQuestion) -> Sequence[Translation]:
        """Return the sample translations; of one partition only the first."""
        self.moments.append((flow, question))
        return TRANSLATIONS if question.partition is None else TRANSLATIONS[:1]

    async def translate_group(self, flow: str, group: str, *, reverse: bool) -> Sequence[Translation]:
        """Return the sample translations; of the target only the first."""
        self.questions.append((flow, group, reverse))
        return TRANSLATIONS[:1] if reverse else TRANSLATIONS

    def groups(self, flow: str) -> tuple[Sequence[GroupStatus], str | None]:
        """Return the sample groups, of the one flow that has any."""
        if self.refuse is not None:
            raise self.refuse
        return (self.groups_found, self.groups_wait_for) if flow == "east-to-west" else ((), None)

    def events(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """Return the sample events that match."""
        return [one for one in EVENTS if one.flow == flow and topic in {None, one.topic}][-limit:]
