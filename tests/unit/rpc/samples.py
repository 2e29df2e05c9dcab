"""A daemon made of values, for the tests of everything that shows a daemon: rpc, metrics, HTTP, command line."""

from __future__ import annotations

from replicator.model.operations.damage import Damaged
from replicator.model.operations.forget import Forgotten
from replicator.model.operations.lineage import Bounds, Difference, LogComparison, LogStanding, RepointReport
from replicator.model.operations.resolution import Loss, Resolution
from replicator.model.operations.translation import Translation, TranslationState
from replicator.model.status.events import Event
from replicator.model.status.groups import GroupKind, GroupPartition, GroupState, GroupStatus
from replicator.model.status.snapshots import (
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
from replicator.model.status.states import FlowState, MirrorState, PartitionPhase, Reason
from replicator.model.switch.status import BothSides, CutStatus, RestorationStatus, StepStatus, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import Direction, Outcome, Verb

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
