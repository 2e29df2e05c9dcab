"""The metrics of a daemon: one typed table, and a collector that reads the status snapshot.

Nothing in the data path counts for Prometheus: a scrape takes a snapshot and translates it. Unknown values are
left out, never shown as 0. Flows that another daemon runs are left out too, so that sums over daemons are right.
``docs/METRICS.md`` is generated from the table by ``scripts/gen_docs.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from replicator.core.status.health import phases
from replicator.model.status.groups import GroupState, GroupStatus
from replicator.model.status.snapshots import DaemonStatus, FlowStatus, FlowTotals
from replicator.model.status.states import FlowState, MirrorState
from replicator.obs import bugs, loop_watch

PREFIX = "replicator_"
_FOLLOWING = frozenset({GroupState.IN_STEP, GroupState.WAITING})
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One row of the table. The name ends with the unit, if there is one."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str


class Metric(enum.Enum):
    """All metrics; a typo in a name is a type error."""

    BUILD_INFO = MetricSpec("build_info", "gauge", ("version", "instance"), "Always 1.")
    READY = MetricSpec(
        "ready",
        "gauge",
        (),
        "1 while every partition that should be copied is copied, or stopped with a named reason, as in /readyz.",
    )
    CLUSTER_UP = MetricSpec(
        "cluster_up",
        "gauge",
        ("cluster",),
        "1 while any broker of the cluster answers, 0 once none has for 10 s; absent until it is known.",
    )
    BROKER_UP = MetricSpec(
        "broker_up",
        "gauge",
        ("cluster", "broker"),
        "1 while a broker that leads partitions of a flow answers, 0 once it has not for 10 s, even if no other broker "
        "took over its partitions; absent for brokers that no flow needs now.",
    )
    CONFIG_RELOAD_SUCCESS = MetricSpec(
        "config_reload_success", "gauge", (), "1 if the last read of the flow file succeeded, else 0."
    )
    EVENT_LOOP_LAG_SECONDS = MetricSpec(
        "event_loop_lag_seconds",
        "gauge",
        (),
        "Worst delay of the daemon's event loop within the last 15 to 30 s; above 1 the log shows the cause.",
    )
    EVENT_LOOP_TASKS = MetricSpec(
        "event_loop_tasks",
        "gauge",
        (),
        "Tasks of the daemon's event loop, counted every 15 s; their number follows that of partitions and calls.",
    )
    UNEXPECTED_ERRORS = MetricSpec(
        "unexpected_errors_total",
        "counter",
        ("flow",),
        "Bugs in this software, each in the log with its stack; flow is empty for those that belong to no flow.",
    )
    FLOW_RESTARTS = MetricSpec(
        "flow_restarts_total", "counter", ("flow",), "How often a flow was restarted after it ended by itself."
    )
    REFUSED_CALLS = MetricSpec(
        "refused_calls_total",
        "counter",
        ("reason",),
        "Refused gRPC and HTTP calls: role (no rule grants it), certificate (none, or without a name), token "
        "(an order without it), nobody (orders are not accepted here), share (too many at once), host (not our name), "
        "request (too large, or unreadable).",
    )
    RECORDS = MetricSpec("records_total", "counter", ("flow",), "Records written to the target.")
    BYTES = MetricSpec("bytes_total", "counter", ("flow",), "Bytes of record batches written to the target.")
    BATCHES = MetricSpec("batches_total", "counter", ("flow",), "Record batches written to the target.")
    APPENDS = MetricSpec(
        "appends_total",
        "counter",
        ("flow", "outcome"),
        "Answers to appends: accepted, duplicate (acknowledged again), refused, fenced, unknown (no answer).",
    )
    FILLED_OFFSETS = MetricSpec(
        "filled_offsets_total", "counter", ("flow",), "Offsets without a record, filled with markers on the target."
    )
    REATTACH = MetricSpec(
        "reattach_total", "counter", ("flow",), "How often a partition read the target's log again before writing."
    )
    PARTITIONS = MetricSpec(
        "partitions",
        "gauge",
        ("flow", "phase"),
        "Partitions that this daemon works on, or nobody does, by phase: attaching, copying, waiting (continues by "
        "itself), stopped (faulted, paused, switched, or lacking a right).",
    )
    LAG_RECORDS = MetricSpec(
        "lag_records",
        "gauge",
        ("flow", "topic", "partition"),
        "Records the target is certainly behind; absent if it was level when the source was last seen, over 15 s ago.",
    )
    OPEN_TRANSACTION_SECONDS = MetricSpec(
        "open_transaction_seconds",
        "gauge",
        ("flow", "topic", "partition"),
        "How long an open transaction on the source has held up the records after it; absent if there is none.",
    )
    VERIFIED_THROUGH = MetricSpec(
        "verified_through_offset",
        "gauge",
        ("flow", "topic", "partition"),
        "Every record below this offset was compared with the source (`verify.continuous`).",
    )
    VERIFIED_AGE_SECONDS = MetricSpec(
        "verified_age_seconds",
        "gauge",
        ("flow", "topic", "partition"),
        "How long there may have been records on the target that were not compared; absent before the first pass.",
    )
    VERIFY_DIFFERENCES = MetricSpec(
        "verify_differences_total",
        "counter",
        ("flow", "topic", "partition"),
        "Records that differ between source and target. Anything above 0 is worth an alert.",
    )
    RPO_SECONDS = MetricSpec(
        "rpo_seconds",
        "gauge",
        ("flow",),
        "Seconds of data at risk if the source were lost now; grows while the source is unseen.",
    )
    SOURCE_SEEN_AGE_SECONDS = MetricSpec(
        "source_seen_age_seconds", "gauge", ("flow",), "Age of the oldest observation of the source's ends."
    )
    LAST_PROGRESS = MetricSpec(
        "last_progress_timestamp_seconds",
        "gauge",
        ("flow",),
        "Unix time of the last accepted append: lag can be 0 while nothing moves.",
    )
    LEASE_HELD = MetricSpec(
        "lease_held",
        "gauge",
        ("flow", "shard"),
        "1 while this daemon works on the shard, else 0; the sum over daemons should be 1.",
    )
    LEASE_EPOCH = MetricSpec(
        "lease_epoch", "gauge", ("flow", "shard"), "Epoch of this daemon's lease; it rises whenever the holder changes."
    )
    COORDINATOR_UP = MetricSpec("coordinator_up", "gauge", ("flow",), "1 while a coordinator answers, else 0.")
    FLOW_PAUSED = MetricSpec(
        "flow_paused",
        "gauge",
        ("flow",),
        "1 while an operator has paused the flow; absent while that is unknown: before it is up, and after it ended.",
    )
    FLOW_STATE = MetricSpec(
        "flow_state",
        "gauge",
        ("flow", "state"),
        "1 for the state the flow is in, 0 for the others; alert on the RPO of flows that are ACTIVE or UNREACHABLE.",
    )
    CHECKPOINT_AGE_SECONDS = MetricSpec(
        "checkpoint_age_seconds",
        "gauge",
        ("flow", "group"),
        "Age of the commits that were last applied to the target; absent if the flow does not carry the group.",
    )
    GROUP_REREAD_RECORDS = MetricSpec(
        "group_reread_records",
        "gauge",
        ("flow", "group"),
        "Records that the group would read again if the target took over now, including markers; absent if unknown.",
    )
    GROUP_HELD_BACK = MetricSpec(
        "group_held_back",
        "gauge",
        ("flow", "group", "reason"),
        "1 for each group that does not follow, with the reason; otherwise absent.",
    )
    MIRROR_STATE = MetricSpec(
        "mirror_state", "gauge", ("flow", "topic", "state"), "1 for the state the mirror is in, 0 for the others."
    )
    PARTITION_FAULTED = MetricSpec(
        "partition_faulted",
        "gauge",
        ("flow", "topic", "partition", "reason"),
        "1 for each partition that has stopped; otherwise absent.",
    )


class StatusCollector(Collector):
    """Translates one snapshot per scrape."""

    def __init__(
        self,
        status: DaemonStatus,
        groups: Mapping[str, Sequence[GroupStatus]],
        refused: Mapping[str, int],
    ) -> None:
        self._status = status
        self._groups = groups
        self._refused = refused

    def collect(self) -> Iterable[Family]:
        """Return all families, in the order of the table."""
        families = _Families()
        status = self._status
        families.add(Metric.BUILD_INFO, 1, status.version, status.instance)
        families.add(Metric.READY, status.ready)
        families.add(Metric.CONFIG_RELOAD_SUCCESS, status.config_reload_ok)
        families.add(Metric.EVENT_LOOP_LAG_SECONDS, loop_watch.lag_seconds())
        families.add(Metric.EVENT_LOOP_TASKS, loop_watch.task_count())
        families.add(Metric.UNEXPECTED_ERRORS, bugs.count(""), "")
        for reason, count in sorted(self._refused.items()):
            families.add(Metric.REFUSED_CALLS, count, reason)
        _clusters(families, status)
        for flow in status.flows:
            if not flow.remote:
                _flow(families, flow)
                _mirrors(families, flow)
                _groups(families, flow.flow, self._groups.get(flow.flow, ()))
        return families.by_metric.values()

    def describe(self) -> Iterator[Family]:
        """Return nothing, so that registering does not take a snapshot."""
        return iter(())


def render(
    status: DaemonStatus, groups: Mapping[str, Sequence[GroupStatus]], refused: Mapping[str, int] | None = None
) -> bytes:
    """Return the text of one scrape, of type CONTENT_TYPE.

    Args:
        status: The daemon's status.
        groups: The consumer groups of the flows that this daemon runs, by flow.
        refused: How many calls were refused, by reason.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(status, groups, refused or {}))
    return generate_latest(registry)


class _Families:
    """The families of one scrape."""

    def __init__(self) -> None:
        self.by_metric: dict[Metric, CounterMetricFamily | GaugeMetricFamily] = {
            metric: _family(metric.value) for metric in Metric
        }

    def add(self, metric: Metric, value: float | None, *labels: str) -> None:
        """Add a sample, its labels in the order of the table; None adds nothing."""
        if value is not None:
            self.by_metric[metric].add_metric(labels, value)


def _family(spec: MetricSpec) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    return kind(PREFIX + spec.name, spec.help, labels=spec.labels)


def _clusters(families: _Families, status: DaemonStatus) -> None:
    """Add one sample per cluster and per broker in use, which answers if it answers any flow that watches it."""
    clusters: dict[str, set[bool]] = {}
    brokers: dict[tuple[str, int], set[bool]] = {}
    for flow in status.flows:
        for cluster in flow.clusters if not flow.remote else ():
            if cluster.up is not None:
                clusters.setdefault(cluster.cluster, set()).add(cluster.up)
            for one in cluster.brokers:
                if one.up is not None:
                    brokers.setdefault((cluster.cluster, one.broker), set()).add(one.up)
    for name, answers in clusters.items():
        families.add(Metric.CLUSTER_UP, True in answers, name)
    for (name, broker), answers in sorted(brokers.items()):
        families.add(Metric.BROKER_UP, True in answers, name, str(broker))


def _flow(families: _Families, flow: FlowStatus) -> None:
    name, totals = flow.flow, flow.totals or FlowTotals()
    families.add(Metric.UNEXPECTED_ERRORS, bugs.count(name), name)
    families.add(Metric.FLOW_RESTARTS, bugs.restarts(name), name)
    families.add(Metric.RECORDS, totals.records_total, name)
    families.add(Metric.BYTES, totals.bytes_total, name)
    families.add(Metric.BATCHES, totals.batches_total, name)
    families.add(Metric.FILLED_OFFSETS, totals.filled_offsets_total, name)
    families.add(Metric.REATTACH, totals.reattach_total, name)
    for outcome, count in (
        ("accepted", totals.appends_accepted_total),
        ("duplicate", totals.appends_duplicate_total),
        ("refused", totals.appends_refused_total),
        ("fenced", totals.appends_fenced_total),
        ("unknown", totals.appends_unknown_total),
    ):
        families.add(Metric.APPENDS, count, name, outcome)
    families.add(Metric.RPO_SECONDS, flow.rpo_seconds, name)
    families.add(Metric.SOURCE_SEEN_AGE_SECONDS, flow.source_seen_age_seconds, name)
    progress_ms = totals.last_progress_ms
    families.add(Metric.LAST_PROGRESS, None if progress_ms is None else progress_ms / 1000, name)
    for shard in flow.shards:
        families.add(Metric.LEASE_HELD, shard.held, name, str(shard.shard))
        families.add(Metric.LEASE_EPOCH, shard.epoch, name, str(shard.shard))
    families.add(Metric.COORDINATOR_UP, flow.coordinator_answers, name)
    paused = flow.state is FlowState.PAUSED
    if paused or (flow.flow_uid is not None and flow.state is not FlowState.FAULTED):
        families.add(Metric.FLOW_PAUSED, paused, name)
    for state in FlowState:
        families.add(Metric.FLOW_STATE, flow.state is state, name, state)
    if flow.flow_uid is not None:  # before it is up, nothing is known about its partitions
        for phase, count in phases(flow).items():
            families.add(Metric.PARTITIONS, count, name, phase)


def _mirrors(families: _Families, flow: FlowStatus) -> None:
    for mirror in flow.mirrors:
        for state in MirrorState:
            families.add(Metric.MIRROR_STATE, mirror.state is state, flow.flow, mirror.topic, state)
        for partition in mirror.partitions:
            where = (flow.flow, mirror.topic, str(partition.partition))
            families.add(Metric.LAG_RECORDS, partition.lag_records, *where)
            families.add(Metric.OPEN_TRANSACTION_SECONDS, partition.open_transaction_seconds, *where)
            families.add(Metric.VERIFIED_THROUGH, partition.verified_through, *where)
            families.add(Metric.VERIFIED_AGE_SECONDS, partition.verified_age_seconds, *where)
            families.add(Metric.VERIFY_DIFFERENCES, partition.verify_differences, *where)
            if partition.state is MirrorState.FAULTED:
                families.add(Metric.PARTITION_FAULTED, 1, *where, partition.reason or "unknown")


def _groups(families: _Families, flow: str, groups: Sequence[GroupStatus]) -> None:
    for group in groups:
        families.add(Metric.CHECKPOINT_AGE_SECONDS, group.checkpoint_age_seconds, flow, group.group)
        families.add(Metric.GROUP_REREAD_RECORDS, group.reread_records, flow, group.group)
        if group.state not in _FOLLOWING:
            families.add(Metric.GROUP_HELD_BACK, 1, flow, group.group, group.state)
