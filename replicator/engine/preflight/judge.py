"""What the facts of a preflight mean. Pure: facts in, findings out."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from replicator.core.acl.commands import acl_command
from replicator.core.acl.rights import Operation, on_cluster
from replicator.core.copy.writing.producer_memory import EXPIRATION_DEFAULT_MS, ProducerMemory, spread
from replicator.core.topics import selection
from replicator.core.topics.plan import creation_advice
from replicator.engine.preflight.judge_rights import grant
from replicator.engine.preflight.phrases import DAY_MS, HOUR_MS, count, some, span
from replicator.engine.state.ownership.shown_markers import Shown
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.operations.report import Check, fail, ok, warn
from replicator.model.security import ClusterSpec
from replicator.model.units import format_bootstrap
from replicator.wire.messages.questions import Found, Refusal
from replicator.wire.messages.rights_probe import Verdict

EXPIRATION_MAX_MS = (1 << 31) - 1
GUARD_MARGIN_MS = 3_600_000
SLOW_FILLS_PER_SECOND = 30
"""Empty transactions, one at a time, on three replicas (KAFKA_FACTS K8)."""
_SKEW_SECONDS = 60


# -- topics -----------------------------------------------------------------------------------------------------------


def selected(names: Collection[str], partitions: int, records: int) -> Check:
    """Report which topics a flow selects now."""
    if not names:
        return warn(
            "topics",
            "the selection currently matches no topic of the source",
            "check topics.include, and the DESCRIBE right on the topics; topics that appear later are copied from "
            "their first record",
        )
    return ok(
        "topics",
        f"{count(len(names), 'topic')}, {count(partitions, 'partition')}, {records:,} offsets to copy: {some(names)}",
    )


def left_out(topics: Mapping[str, str], unknown: str | None) -> list[Check]:
    """Report which topics match a pattern but are not copied.

    Args:
        topics: Why each is left out, as the text after its name in a sentence.
        unknown: Why it is not known which topics are copies, with what helps; None if it is known.
    """
    by_reason: dict[str, list[str]] = {}
    for name, why in topics.items():
        by_reason.setdefault(why, []).append(name)
    checks = [
        warn(
            "left out",
            f"{some(names)}: a pattern matches, but each of them {why}" if len(names) > 1 else f"{names[0]} {why}",
            "to copy a topic anyway, list its full name in topics.include; otherwise add it to topics.exclude",
        )
        for why, names in by_reason.items()
    ]
    if unknown is not None:
        text, _, fix = unknown.partition("; next: ")
        checks.append(warn("copies", text, fix))
    return checks


def stamped(names: Collection[str]) -> list[Check]:
    """Report what happens to times that the source's brokers set."""
    if not names:
        return []
    return [
        ok(
            "times",
            f"{some(names)}: stamped by the broker (message.timestamp.type=LogAppendTime); the times are kept; on the "
            "target the topic stays CreateTime until promotion",
        )
    ]


def fills(names: Collection[str], verdict: Verdict, cluster: ClusterSpec) -> list[Check]:
    """Report how offsets without a record get their markers.

    Args:
        names: Topics with transactions, and compacted ones.
        verdict: What the target says about WriteTxnMarkers.
        cluster: The target.
    """
    if not names:
        return []
    why = f"{some(names)}: transactions or compaction leave offsets without a record"
    if verdict is Verdict.ALLOWED:
        return [ok("fills", f"by WriteTxnMarkers, which {cluster.alias} allows; {why}")]
    slowly = f"by empty transactions, about {SLOW_FILLS_PER_SECOND} a second"
    if verdict is Verdict.NOT_OFFERED:
        return [warn("fills", f"{slowly}: {cluster.alias} does not offer WriteTxnMarkers; {why}")]
    if verdict is Verdict.REFUSED:
        refusal = f"{cluster.alias} does not allow WriteTxnMarkers, the fast way (ClusterAction on the cluster)"
        return [
            warn("fills", f"{slowly}: {refusal}; {why}", acl_command(on_cluster(Operation.CLUSTER_ACTION), cluster))
        ]
    unknown = f"by WriteTxnMarkers if {cluster.alias} allows it, which it does not say; else {slowly}"
    return [warn("fills", f"{unknown}; {why}")]


def mapped(names: Collection[str], compacted: Collection[str]) -> list[Check]:
    """Report what mapped offsets mean for the topics of a flow.

    Args:
        names: Topics with transactions, and compacted ones.
        compacted: The compacted ones among them.
    """
    refused = [
        fail(
            "offsets",
            f"{some(compacted)}: compacted, which topics with mapped offsets must not be",
            "copy them in a separate flow, with offsets: auto",
        )
    ]
    left_out = sorted(set(names) - set(compacted))
    fine = [ok("offsets", f"mapped: offsets without a record are left out; {some(left_out)}: transactions")]
    return (refused if compacted else []) + (fine if left_out else [])


def merged(names: Mapping[str, tuple[str, ...]]) -> list[Check]:
    """Judge target topics that several source topics would be copied to."""
    return [
        fail(
            "mirrors",
            f"{', '.join(some_of)} are all renamed to {target_name}: two topics are never merged into one",
            "give them different names, or exclude all but one",
        )
        for target_name, some_of in sorted(names.items())
    ]


def visible_fillers(ends: Mapping[TopicPartition, int], cluster: ClusterSpec) -> list[Check]:
    """Report that readers see the fillers of a seed again: a killed broker may forget a recent log start.

    Args:
        ends: By partition, the offset where its visible fillers end.
        cluster: The target.
    """
    if not ends:
        return []
    wanted = [{"topic": where.topic, "partition": where.partition, "offset": end} for where, end in ends.items()]
    document = json.dumps({"version": 1, "partitions": wanted})
    servers = format_bootstrap(cluster.bootstrap)
    return [
        fail(
            "fillers",
            f"{some({str(where) for where in ends})}: readers on {cluster.alias} see empty filler records below the "
            "first copied one (a broker killed within a minute of the seed has forgotten the log start)",
            f"kafka-delete-records.sh --bootstrap-server {servers} --offset-json-file <(echo '{document}')",
        )
    ]


def collisions(wanted: Collection[str], there: Collection[str]) -> dict[str, str]:
    """Return which topics could not be created because of which other one: they differ only in `.` and `_`.

    Args:
        wanted: Topics to create; of two that collide, the first by name can be created.
        there: Topics that the cluster has.
    """
    taken = {selection.metric_name(name): name for name in sorted(there, reverse=True)}
    found: dict[str, str] = {}
    for name in sorted(wanted):
        other = taken.setdefault(selection.metric_name(name), name)
        if other != name:
            found[name] = other
    return found


def colliding(names: Mapping[str, str], cluster: ClusterSpec) -> list[Check]:
    """Report that brokers refuse topics whose names collide; see `collisions`."""
    if not names:
        return []
    shown = some([f"{name} (next to {other})" for name, other in names.items()])
    return [
        fail(
            "create",
            f"{cluster.alias} would refuse to create {shown}: names that differ only in '.' and '_' collide",
            "give it another name there (topics.rename), or exclude it; it holds up nothing else",
        )
    ]


def creations(refusals: Mapping[str, Refusal], asked: int, cluster: ClusterSpec) -> list[Check]:
    """Report the result of a dry run of creating topics."""
    checks = []
    by_reason: dict[tuple[int, str], list[str]] = {}
    denied = []
    for name, refusal in refusals.items():
        if refusal.code in {29, 31}:  # TOPIC_ and CLUSTER_AUTHORIZATION_FAILED
            denied.append(name)
        else:
            by_reason.setdefault((refusal.code, refusal.message), []).append(name)
    if denied:
        checks.append(
            fail(
                "create",
                f"this user may not create {some(denied)} on {cluster.alias}",
                grant(cluster, denied[0], (Operation.CREATE,)),
            )
        )
    checks += [
        fail(
            "create",
            f"{cluster.alias} would refuse to create {some(names)}: {reason}",
            creation_advice(code)
            or "change replication_factor or topic_configs of the flow, or ask the cluster's owner",
        )
        for (code, reason), names in by_reason.items()
    ]
    if asked > len(refusals):
        checks.append(ok("create", f"{count(asked - len(refusals), 'topic')} can be created (dry run)"))
    return checks


# -- rights -----------------------------------------------------------------------------------------------------------


# -- guard ------------------------------------------------------------------------------------------------------------


def guard(memory: ProducerMemory, cluster: ClusterSpec) -> Check:
    """Report in plain words what the target's memory of producers is good for: that of the broker with the shortest."""
    setting = memory.shortest_ms
    guarded = setting - GUARD_MARGIN_MS
    unknown = "" if memory.is_complete else " (not reported by all brokers; this is Kafka's default, or less)"
    text = f"{cluster.alias} remembers a producer for {span(setting)} of record time{unknown}"
    if guarded <= 0:
        return warn(
            "guard",
            f"{text}: too short for its brokers to refuse duplicates by themselves; batches are copied one at a time "
            "per partition, which is slower but just as exact",
            raise_expiration(cluster, EXPIRATION_DEFAULT_MS, memory),
        )
    if memory.differs:
        return warn(
            "guard",
            f"{text}: its brokers differ, and the shortest counts ({spread(memory)})",
            raise_expiration(cluster, max(memory.by_broker.values()), memory),
        )
    return ok(
        "guard",
        f"{text}: records younger than {span(guarded)} are copied at full speed; brokers refuse duplicates and gaps",
    )


def backlog(
    older: Mapping[TopicPartition, int], oldest_age_ms: int | None, memory: ProducerMemory, cluster: ClusterSpec
) -> Check | None:
    """Report what it means that part of the backlog is older than the guard.

    Args:
        older: Offsets still to copy that are older than the guard, by partition.
        oldest_age_ms: Age of the oldest record to copy, if known.
        memory: The target's brokers.
        cluster: The target.
    """
    total = sum(older.values())
    if not total:
        return None
    wanted = needed_expiration(oldest_age_ms)
    age = f", the oldest {span(oldest_age_ms)}" if oldest_age_ms is not None else ""
    text = (
        f"{total:,} offsets in {count(sum(map(bool, older.values())), 'partition')} are older than the guard{age}: "
        "they are copied one batch at a time per partition, which is slower but just as exact"
    )
    if wanted <= memory.shortest_ms:
        return warn("old backlog", f"{text}; {memory.setting} is already at its maximum")
    return warn("old backlog", text, raise_expiration(cluster, wanted, memory))


def needed_expiration(oldest_age_ms: int | None) -> int:
    """Return the setting that guards a record of that age, with a day to copy it; at most Kafka's maximum."""
    if oldest_age_ms is None:
        return EXPIRATION_MAX_MS
    wanted = oldest_age_ms + GUARD_MARGIN_MS + DAY_MS
    return min(EXPIRATION_MAX_MS, -(-wanted // HOUR_MS) * HOUR_MS)


def raise_expiration(cluster: ClusterSpec, milliseconds: int, memory: ProducerMemory) -> str:
    """Return how to set the guard's time on every broker: a command, or the file to edit before Kafka 3.4."""
    if not memory.is_dynamic:
        return f"set {memory.setting}={milliseconds} in each broker's server.properties, then restart it"
    servers = format_bootstrap(cluster.bootstrap)
    return (
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type brokers --entity-default "
        f"--add-config {memory.setting}={milliseconds}"
    )


def older_than_guard(
    positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, Found], cut: Mapping[TopicPartition, Found]
) -> dict[TopicPartition, int]:
    """Return how many offsets of each partition are before the first guarded record."""
    older = {}
    for where, position in positions.items():
        if where not in cut or where not in ends:
            continue
        first_guarded = cut[where].offset if cut[where].offset >= 0 else ends[where].offset
        older[where] = max(0, first_guarded - position)
    return older


def clocks(ahead: Mapping[TopicPartition, Found]) -> Check | None:
    """Report that record times are in the future: a clock is wrong, here or where they are written."""
    names = {str(where) for where, found in ahead.items() if found.offset >= 0}
    if not names:
        return None
    return warn(
        "clocks",
        f"{some(names)}: times of records are more than {_SKEW_SECONDS} s ahead of this machine's clock",
        "compare the clocks (timedatectl) of this machine, the producers and the brokers",
    )


def producers(cluster: ClusterSpec, shown: Shown, *, in_log: bool = False) -> Check:
    """Report whether the brokers show which producers they remember, including one that wrote a marker.

    Args:
        cluster: The target.
        shown: Whether they do.
        in_log: Whether one of our markers was read from the state topic's log.
    """
    if shown is Shown.NOT_OFFERED:
        return warn(
            "producers",
            f"{cluster.alias} does not offer DescribeProducers: after a crash the copy relies on the log alone, and "
            "cannot see writes that are still in flight",
        )
    if shown is Shown.NO:
        return fail(
            "producers",
            f"DescribeProducers of {cluster.alias} does not report our producer, which wrote a marker to "
            f"{STATE_TOPIC}: a fence could not be verified, so this flow cannot be switched over",
            "ask its operator for brokers that report what Kafka's own do",
        )
    if shown is Shown.UNKNOWN:
        return warn(
            "producers",
            f"unknown whether {cluster.alias} shows our markers (DescribeProducers, and in the log): its {STATE_TOPIC} "
            "has none of the last hours; checked at the first start, before a partition is filled",
            "once the flow runs, `replicator failover FLOW --rehearse` checks it with one marker",
        )
    where = "DescribeProducers, and in the log" if in_log else "DescribeProducers; its log currently has none"
    return ok("producers", f"{cluster.alias} shows our producer's marker on {STATE_TOPIC} ({where})")
