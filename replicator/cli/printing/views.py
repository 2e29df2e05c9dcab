"""Status as tables: their columns, the cells, and the text about a fault."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from replicator.cli.printing import output
from replicator.cli.printing.output import Column, age, number, text
from replicator.core.status.whole_flow import total_known
from replicator.model.operations.resolution import ALLOWED, How
from replicator.model.status.events import Event
from replicator.model.status.snapshots import DaemonStatus, FlowStatus, MirrorStatus, PartitionStatus
from replicator.model.status.states import FlowState, MirrorState, Reason

FLOW_COLUMNS = (
    Column("FLOW", folds=True),
    Column("SOURCE", rank=3),
    Column("TARGET", rank=4),
    Column("STATE"),
    Column("LAG", right=True),
    Column("RPO", right=True),
    Column("SEEN", right=True, rank=5),
    Column("MIRRORS", right=True, rank=2),
    Column("FAULTED", right=True, rank=1),
    Column("REASON", rank=6),
    Column("EPOCH", right=True, wide=True),
    Column("RECORDS", right=True, wide=True),
    Column("BYTES", right=True, wide=True),
    Column("UID", wide=True),
)
MIRROR_COLUMNS = (
    Column("TOPIC", names=True, folds=True),
    Column("TARGET TOPIC", names=True, rank=4, folds=True),
    Column("STATE"),
    Column("REASON", folds=True),  # next to the state and never dropped: ACTIVE alone does not say that it waits
    Column("PARTITIONS", right=True, rank=3),
    Column("LAG", right=True),
    Column("OFFSETS", rank=2),
    Column("SEED ETA", right=True, rank=5),
)
PARTITION_COLUMNS = (
    Column("PART", right=True),
    Column("STATE"),
    Column("REASON"),
    Column("SRC START", right=True, rank=4),
    Column("SRC END", right=True, rank=2),
    Column("TGT START", right=True, rank=5),
    Column("TGT END", right=True, rank=3),
    Column("LAG", right=True),
    Column("OFFSETS", rank=1),
    Column("GUARD", rank=6),
    Column("HOLDER", rank=7),
    Column("PHASE", wide=True),
    Column("RPO", right=True, wide=True),
    Column("SEEN", right=True, wide=True),
)
VERIFY_COLUMNS = (
    Column("VERIFIED", right=True, rank=1),
    Column("VERIFIED AGE", right=True, rank=1),
    Column("DIFFER", right=True),
)
"""In addition to PARTITION_COLUMNS if a flow verifies continuously."""
EVENT_COLUMNS = (
    Column("AT"),
    Column("PART", right=True),
    Column("CHANGE"),
    Column("REASON", rank=1),
    Column("TEXT", folds=True),
)

_MEANING = {
    Reason.OVERTAKEN_BY_RETENTION: "the source deleted records before they were copied",
    Reason.SOURCE_TRUNCATED: "the source lost records that were copied (unclean leader election)",
    Reason.SOURCE_RECREATED: "the source topic was deleted and created again",
    Reason.SOURCE_MISSING: "the source topic is gone",
    Reason.TARGET_MISSING: "the target topic is gone",
    Reason.TARGET_RECREATED: "the target topic was deleted and created again",
    Reason.FOREIGN_WRITER: "someone else wrote to the target topic",
    Reason.TARGET_TAKEN: "another topic is copied to the target topic, or it is itself copied to the source",
    Reason.OTHER_OWNER: "the target topic is the mirror of another flow",
    Reason.CONTENT_MISMATCH: "the last record on the target is not the source's record at that offset",
    Reason.RECORD_TOO_LARGE: "a batch is larger than the target allows",
    Reason.BATCH_TOO_LARGE: "a batch is larger than one read, or takes more memory to open than is allowed",
    Reason.TOMBSTONES_MAY_BE_LOST: "the copy stood still for longer than the source keeps tombstones",
    Reason.CORRUPT_BATCH: "a batch is damaged, or claims offsets that it cannot have",
    Reason.UNSUPPORTED_BATCH: "a run of offsets without a record is longer than fill_limit",
    Reason.PARTITION_COUNT: "source and target have different numbers of partitions",
    Reason.TARGET_REFUSED: "the target refuses writes",
    Reason.LEFT_OUT: "the flow's patterns do not select it",
    Reason.INTERNAL_ERROR: "a bug in this software: please report what the log says",
    Reason.FENCED: "the target was promoted, or another writer took over",
    Reason.WAITING_FOR_ACCESS: "a right is missing; once it is granted, the copy goes on by itself",
    Reason.STATE_LOST: "the topic in which the flow records what it does is gone from the target",
    Reason.OPEN_TRANSACTION: "a transaction on the source is still open; once it ends, the copy goes on by itself",
    Reason.WAITING_FOR_LEASE: "no daemon works on its shard now",
    Reason.FILLING: "the source has no records at many offsets; they are filled before the copy goes on",
}
_WAITS_FOR_OPERATOR = frozenset({Reason.WAITING_FOR_ACCESS, Reason.STATE_LOST, Reason.OPEN_TRANSACTION})
"""Waits that an operator may have to end; their detail names the next step."""
_SHOULD_COPY = frozenset({FlowState.ACTIVE, FlowState.UNREACHABLE, FlowState.PAUSED})
_LEFT_OUT_SHOWN = 5
_FILLS = frozenset({Reason.FILLING})


def flow_row(flow: FlowStatus) -> Sequence[str]:
    """Return the cells of FLOW_COLUMNS."""
    active = sum(mirror.state is MirrorState.ACTIVE for mirror in flow.mirrors)
    here = not flow.remote
    known = here and (flow.flow_uid is not None or bool(flow.mirrors))  # its topics are not known before it is up
    totals = flow.totals
    return (
        flow.flow,
        flow.source,
        flow.target,
        flow.state if here else "REMOTE",
        number(flow.lag_records),
        age(flow.rpo_seconds),
        age(flow.source_seen_age_seconds),
        f"{active}/{len(flow.mirrors)}" if known else output.UNKNOWN,
        number(sum(1 for _ in faults(flow))) if known else output.UNKNOWN,
        text(flow.reason),
        text(flow.epoch),
        number(totals.records_total) if here and totals is not None else output.UNKNOWN,
        number(totals.bytes_total) if here and totals is not None else output.UNKNOWN,
        text(flow.flow_uid),
    )


def flow_headline(flow: FlowStatus) -> str:
    """Return one line about a flow. If it should copy, unknown figures are named, too: that they are is news."""
    name = f"{flow.flow}: {flow.source} -> {flow.target}"
    if flow.remote:
        return f"{name}  run by another daemon"
    figures = (
        (flow.lag_records, f"lag {number(flow.lag_records)}", "lag unknown"),
        (flow.rpo_seconds, f"rpo {age(flow.rpo_seconds)}", "rpo unknown"),
        (
            flow.source_seen_age_seconds,
            f"source seen {age(flow.source_seen_age_seconds)} ago",
            "source not yet seen in full",
        ),
    )
    wanted = flow.state in _SHOULD_COPY and bool(flow.mirrors)
    texts = [
        known if value is not None else unknown for value, known, unknown in figures if wanted or value is not None
    ]
    reason = [f"({flow.reason})"] if flow.reason is not None else []
    epoch = [f"epoch {flow.epoch}"] if flow.epoch is not None else []
    return "  ".join([name, flow.state, *reason, *texts, *epoch])


def no_mirrors(status: DaemonStatus) -> str:
    """Return why no mirror is listed: there is none, or it is not known."""
    unknown = [flow.flow for flow in status.flows if flow.flow_uid is None]
    if not unknown:
        return "there are no mirrors"
    return f"the topics of {', '.join(unknown)} are not known here; `replicator flow status` says why"


def mirror_row(mirror: MirrorStatus) -> Sequence[str]:
    """Return the cells of MIRROR_COLUMNS."""
    active = sum(partition.state is MirrorState.ACTIVE for partition in mirror.partitions)
    offsets = sorted({partition.offsets for partition in mirror.partitions if partition.offsets})
    return (
        mirror.topic,
        mirror.target_topic,
        mirror.state,
        text(mirror.reason),
        f"{active}/{len(mirror.partitions)}" if mirror.partitions else output.UNKNOWN,
        number(mirror_lag(mirror)),
        ",".join(offsets) or output.UNKNOWN,
        age(mirror.seed_eta_seconds),
    )


def mirror_lag(mirror: MirrorStatus) -> int | None:
    """Return the lag over all partitions; unknown as soon as one is, since a partial sum is not the sum."""
    return total_known([partition.lag_records for partition in mirror.partitions])


def partition_row(partition: PartitionStatus) -> Sequence[str]:
    """Return the cells of PARTITION_COLUMNS."""
    return (
        str(partition.partition),
        partition.state,
        text(partition.reason),
        number(partition.source_start),
        number(partition.source_end),
        number(partition.target_start),
        number(partition.target_end),
        number(partition.lag_records),
        text(partition.offsets),
        text(partition.guard),
        text(partition.holder),
        text(partition.phase),
        age(partition.rpo_seconds),
        age(partition.source_seen_age_seconds),
    )


def partition_table(partitions: Sequence[PartitionStatus]) -> tuple[Sequence[Column], Sequence[Sequence[str]]]:
    """Return columns and rows about partitions; verification columns only if there is something to show."""
    rows = [partition_row(one) for one in partitions]
    if all(one.verify_differences is None for one in partitions):
        return PARTITION_COLUMNS, rows
    return (*PARTITION_COLUMNS, *VERIFY_COLUMNS), [
        (*row, number(one.verified_through), age(one.verified_age_seconds), number(one.verify_differences))
        for row, one in zip(rows, partitions, strict=True)
    ]


def difference_lines(flow: FlowStatus, mirrors: Iterable[MirrorStatus]) -> Iterator[str]:
    """Yield the text about each partition whose copy was found to differ."""
    for mirror in mirrors:
        for one in mirror.partitions:
            if one.verify_differences:
                yield f"{mirror.topic}-{one.partition} DIFFERENT: {number(one.verify_differences)} records"
                yield "  why:    source and target differ; the daemon's log names the first record"
                yield f"  next:   replicator verify {flow.flow} -c FILE --topic {mirror.topic}"


def left_out_lines(flow: FlowStatus, *, every: bool) -> Iterator[str]:
    """Yield the text about topics that match a pattern of the flow and are not copied."""
    if flow.origins_unknown:
        yield f"unknown: {flow.origins_unknown}"
    if not flow.left_out_total:
        return
    shown = flow.left_out if every else flow.left_out[:_LEFT_OUT_SHOWN]
    topics = "1 topic" if flow.left_out_total == 1 else f"{number(flow.left_out_total)} topics"
    yield f"left out: {topics} matched by a pattern in topics.include; to copy one, list its full name there"
    for one in shown:
        yield f"  {one.topic} {one.why}"
    more = flow.left_out_total - len(shown)
    if more:
        yield f"  and {number(more)} more" + ("" if every else " (-o wide shows up to 100)")


def event_row(event: Event) -> Sequence[str]:
    """Return the cells of EVENT_COLUMNS."""
    change = f"{text(event.before)} -> {text(event.after)}" if event.before or event.after else output.UNKNOWN
    return (event.at, text(event.partition), change, text(event.reason), event.text)


def faults(flow: FlowStatus) -> Iterator[tuple[MirrorStatus, PartitionStatus | None]]:
    """Yield what has stopped: partitions, or a whole mirror if no partition says why."""
    for mirror in flow.mirrors:
        stopped = [one for one in mirror.partitions if one.state is MirrorState.FAULTED]
        if stopped:
            yield from ((mirror, partition) for partition in stopped)
        elif mirror.state is MirrorState.FAULTED:
            yield mirror, None


def waits(
    flow: FlowStatus, reasons: Collection[Reason] = _WAITS_FOR_OPERATOR
) -> Iterator[tuple[MirrorStatus, PartitionStatus | None]]:
    """Yield what waits without having stopped; of a mirror's partitions with the same detail only the first."""
    for mirror in flow.mirrors:
        said = set()
        for partition in mirror.partitions:
            waiting = partition.reason in reasons and partition.state is not MirrorState.FAULTED
            if waiting and partition.detail not in said:
                said.add(partition.detail)
                yield mirror, partition


def problems(flow: FlowStatus) -> Iterator[tuple[MirrorStatus, PartitionStatus | None]]:
    """Yield what needs an operator's attention."""
    yield from faults(flow)
    yield from waits(flow)


def fills(flow: FlowStatus) -> Iterator[tuple[MirrorStatus, PartitionStatus | None]]:
    """Yield what is busy filling many offsets: nothing to do about it, but good to know how long it will take."""
    yield from waits(flow, _FILLS)


def fault_lines(
    flow: FlowStatus, found: Iterable[tuple[MirrorStatus, PartitionStatus | None]], *, explained: bool = False
) -> Iterator[str]:
    """Yield the text about each fault or wait: where it is, the reason, its meaning and the detail.

    Unless `explained`, also the command that shows what led to it; the detail of a wait names its own next step.
    """
    for mirror, partition in found:
        stopped = partition or mirror
        where = mirror.topic if partition is None else f"{mirror.topic}-{partition.partition}"
        yield f"{where} {stopped.state}: {text(stopped.reason)}"
        if stopped.reason in _MEANING:
            yield f"  why:    {_MEANING[stopped.reason]}"
        if stopped.detail:
            yield f"  detail: {stopped.detail}"
        if not explained and stopped.reason not in _WAITS_FOR_OPERATOR | _FILLS:
            yield f"  next:   replicator mirror describe {flow.flow} {mirror.topic} --events"
        ways = ALLOWED.get(stopped.reason, frozenset()) if stopped.reason is not None else frozenset()
        if stopped.state is MirrorState.FAULTED and ways:
            words = "|".join(sorted(ways - {How.RESEED}))
            yield f"          replicator mirror resolve {flow.flow} {mirror.topic} --how {words}"
