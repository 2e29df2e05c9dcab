"""A daemon made of values, for the tests of everything that shows a daemon: rpc, metrics, HTTP, command line."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from replicator.errors import Conflict, PreflightFailed, ReplicatorError, StoreFull
from replicator.model.audit import AuditEntry
from replicator.model.damage import Clearing, Damage, Damaged
from replicator.model.events import Desired, Event
from replicator.model.forget import Forgotten
from replicator.model.groups import GroupKind, GroupPartition, GroupState, GroupStatus
from replicator.model.lineage import Bounds, Difference, LogComparison, LogStanding, RepointReport
from replicator.model.report import Report, Section, ok, warn
from replicator.model.resolution import Loss, Resolution, ResolutionOrder
from replicator.model.states import FlowState, MirrorState, PartitionPhase, Reason
from replicator.model.status import (
    BrokerStatus,
    ClusterStatus,
    DaemonStatus,
    FlowStatus,
    FlowTotals,
    LeftOut,
    MirrorStatus,
    PartitionStatus,
    ShardStatus,
)
from replicator.model.switch.status import BothSides, CutStatus, RestorationStatus, StepStatus, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import Direction, Outcome, SwitchOrder, Verb
from replicator.model.translation import OffsetQuestion, TimeQuestion, Translation, TranslationState

ORDERS = MirrorStatus(
    topic="orders.eu",
    target_topic="orders.eu",
    state=MirrorState.ACTIVE,
    partitions=(
        PartitionStatus(
            partition=0,
            state=MirrorState.ACTIVE,
            source_start=0,
            source_end=1_204_331,
            target_start=0,
            target_end=1_204_019,
            lag_records=312,
            offsets="identical",
            guard="on",
            holder="west-1",
            open_transaction_seconds=12.5,
            phase=PartitionPhase.COPYING,
            rpo_seconds=3.24,
            source_seen_age_seconds=0.4,
        ),
        PartitionStatus(
            partition=1,
            state=MirrorState.PENDING,
            reason=Reason.WAITING_FOR_DOUBT,
            phase=PartitionPhase.WAITING,
        ),
    ),
)
AUDIT = MirrorStatus(
    topic="audit-2026",
    target_topic="east.audit-2026",
    state=MirrorState.FAULTED,
    reason=Reason.OVERTAKEN_BY_RETENTION,
    detail="source starts at 900, next to copy is 500",
    seed_eta_seconds=95,
    partitions=(
        PartitionStatus(
            partition=0,
            state=MirrorState.FAULTED,
            reason=Reason.OVERTAKEN_BY_RETENTION,
            detail="source starts at 900, next to copy is 500",
            source_start=900,
            source_end=1_000,
            target_start=0,
            target_end=500,
            lag_records=500,
            offsets="identical",
            guard="off",
            verified_through=480,
            verified_age_seconds=77.5,
            verify_differences=3,
        ),
    ),
)
EAST = FlowStatus(
    flow="east-to-west",
    flow_uid="6f1c2a",
    source="east",
    target="west",
    state=FlowState.ACTIVE,
    epoch=7,
    lag_records=812,
    rpo_seconds=3.24,
    source_seen_age_seconds=0.4,
    coordinator_answers=True,
    shards=(ShardStatus(0, "west-1", held=True, epoch=3), ShardStatus(1, "west-2", held=False, epoch=None)),
    clusters=(
        ClusterStatus("east", up=True, answered_age_seconds=0.4),
        ClusterStatus(
            "west", up=True, answered_age_seconds=1.5, brokers=(BrokerStatus(1, up=True), BrokerStatus(7, None))
        ),
    ),
    totals=FlowTotals(
        records_total=1_204_519,
        bytes_total=99_120_000,
        batches_total=12_040,
        appends_accepted_total=12_040,
        appends_duplicate_total=2,
        reattach_total=3,
        filled_offsets_total=77,
        last_progress_ms=1_790_000_000_500,
    ),
    mirrors=(ORDERS, AUDIT),
    left_out=(LeftOut("heartbeats", "is named like an internal topic"),),
    left_out_total=3,
)
NORTH = FlowStatus(
    flow="north-to-west",
    flow_uid=None,
    source="north",
    target="west",
    state=FlowState.PAUSED,
    reason="maintenance",
    clusters=(
        ClusterStatus("north", up=None),
        ClusterStatus("west", up=False, answered_age_seconds=95.0, trouble="west does not answer: refused"),
    ),
)
FAR = FlowStatus(flow="west-to-east", flow_uid=None, source="west", target="east", state=FlowState.ACTIVE, remote=True)
DAEMON = DaemonStatus(
    instance="west-1",
    version="0.1.0",
    started_at="2026-11-20T08:00:00Z",
    ready=True,
    not_ready_because=None,
    config_reload_ok=True,
    flows=(EAST, NORTH, FAR),
)
EVENTS = (
    Event(
        at="2026-11-20T08:00:01Z",
        flow="east-to-west",
        topic="audit-2026",
        partition=0,
        before="PENDING",
        after="ACTIVE",
        reason=None,
        text="attached at 480",
    ),
    Event(
        at="2026-11-20T08:07:12Z",
        flow="east-to-west",
        topic="audit-2026",
        partition=0,
        before="ACTIVE",
        after="FAULTED",
        reason="overtaken_by_retention",
        text="source starts at 900, next to copy is 500",
    ),
)
TRANSLATIONS = (
    Translation("orders.eu", "orders.eu", 0, 1_204_000, 1_204_003, TranslationState.EXACT),
    Translation("orders.eu", "orders.eu", 1, 900, None, TranslationState.NOT_ATTACHED, detail="not compared yet"),
    Translation(
        "audit-2026",
        "east.audit-2026",
        0,
        1_000,
        None,
        TranslationState.NOT_YET_REPLICATED,
        500,
        "500 records behind: copied up to 500; the partition is FAULTED (overtaken_by_retention)",
    ),
)
"""Of one group."""

BILLING = GroupStatus(
    flow="east-to-west",
    group="billing",
    kind=GroupKind.CONSUMER,
    state=GroupState.NOT_TRANSLATED,
    source_state="Stable",
    target_state="Empty",
    checkpoint_age_seconds=6.5,
    detail="not_yet_replicated: 500 records behind",
    unmirrored=2,
    partitions=(
        GroupPartition("orders.eu", "orders.eu", 0, GroupState.IN_STEP, 1_204_000, 1_204_003, 0),
        GroupPartition(
            "audit-2026",
            "east.audit-2026",
            0,
            GroupState.NOT_TRANSLATED,
            1_000,
            None,
            detail="not_yet_replicated: 500 records behind",
        ),
    ),
)
SHIPPING = GroupStatus(
    flow="east-to-west",
    group="shipping",
    kind=GroupKind.CLASSIC,
    state=GroupState.IN_STEP,
    source_state="Stable",
    target_state="Empty",
    checkpoint_age_seconds=1.25,
    reread_records=12,
    partitions=(GroupPartition("orders.eu", "orders.eu", 1, GroupState.IN_STEP, 900, 888, 12),),
)


SKIPPED = Resolution(
    "skip",
    reasons=("overtaken_by_retention",),
    steps=("audit-2026-0 goes on at the source's offset 900: 400 offsets are given up",),
    losses=(Loss(0, 500, 900, "the source's records, deleted by retention before they were copied"),),
    digest="0123456789abcdef",
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


PLAN = SwitchPlan(
    Verb.SWITCHOVER,
    ("look whether it can be carried through", "stop copying", "open west"),
    1,
    known_loss=5,
    lossy=(("orders", 0, 3), ("orders", 1, 2)),
    unseen=1,
    observed_age_seconds=2.5,
    topics=("orders", "payments"),
    left_out=(("audit", "was deleted on its source"),),
)
SWITCH = SwitchStatus(
    id="0a1b2c",
    flow="east-to-west",
    verb=Verb.SWITCHOVER,
    outcome=Outcome.DONE,
    direction=Direction.FORWARD,
    started_ms=1_784_000_000_000,
    ended_ms=1_784_000_004_500,
    actor="ada",
    reason="maintenance",
    epoch=3,
    reverse_flow="west-to-east",
    way_back=True,
    executor="west-1",
    steps=(
        StepStatus("begin_fence", "stop copying", 1_784_000_003_000),
        StepStatus("open_target", "open west", 1_784_000_004_000),
    ),
    groups_exact=4,
    groups_inexact=1,
    groups_detail=("billing: the group has members on the target",),
    known_loss=5,
    unknown_losses=1,
    observed_age_seconds=2.5,
    known_tail=7,
    cuts=(CutStatus("orders", "orders", 0, 100, 101, 103, 3, 7),),
    restorations=(RestorationStatus("orders", "recreate", 7),),
    left_out=(("audit", "was switched alone"),),
    replaces="0a1b2b",
    confirm="",
)


DAMAGED = (
    Damaged(
        "west", "0808", 41, 2, "the record of consumer group 'billing' of flow 0e1f", "no", "it is left", guarded=False
    ),
    Damaged("west", "0801", 7, 9, "the record of a flow of flow 0e1f", "not whole", "all is lost", guarded=True),
)
REPOINTED = RepointReport(
    "orders",
    "east",
    "north",
    "would_move",
    5,
    1200,
    (
        LogComparison(
            "orders", 1, LogStanding.DIFFERENT, Bounds(0, 80), Bounds(0, 100), Difference(70, 1_700_000_000_000, None)
        ),
        LogComparison("orders", 2, LogStanding.UNKNOWN, why="its leader does not answer"),
    ),
    3,
)
FORGOTTEN = Forgotten(3, ("mirrors (1)", "offset maps (2)"), ("topic orders on west, with its records and settings",))
SIDES = BothSides((), (("east-to-west", "SWITCHED_OVER"), ("west-to-east", "ACTIVE")), "west")


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
