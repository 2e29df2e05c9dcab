"""Whether a flow could be switched now, and what would prevent it: facts in, findings out.

Red: the switch would fail, or lose more than the flow's objectives allow. Yellow: it would work, but someone should
know. What could not be found out is yellow, never green.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.switch.readiness_facts import ReadinessFacts, SideFacts, TopicFacts
from replicator.model.operations.report import Check, Section, fail, ok, warn
from replicator.model.status.groups import GroupState
from replicator.model.status.states import MirrorState, Reason
from replicator.model.units import format_age

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from replicator.model.spec import Objectives
    from replicator.model.status.snapshots import FlowStatus

_NAMES_MAX = 3
_FOLLOWED = frozenset({GroupState.IN_STEP, GroupState.GONE_ON_SOURCE})
_SKEW_SECONDS_MAX = 5.0
_HANGING_SECONDS = 60.0
_SEEN_SECONDS_MAX = 30.0


def judge(facts: ReadinessFacts) -> Section:
    """Return the findings, in the order in which an operator would ask for them."""
    checks = [
        *_both_ways(facts),
        *_reach(facts.target, must=True),
        *_reach(facts.source, must=False),
        *_leases(facts.status),
        *_mirrors(facts.status),
        *_writers(facts),
        *_freshness(facts.status, facts.objectives, source_seen=facts.source.unreachable is None),
        *_transactions(facts.status),
        *_replication(facts.topics),
        *_fence(facts.target),
        *_shown(facts),
        *facts.reverse_rights,
        *facts.parity,
        *_groups(facts),
        *_clocks(facts.source, facts.target),
    ]
    status = facts.status
    return Section(f"flow {status.flow}: {status.source} -> {status.target}", tuple(checks))


def _both_ways(facts: ReadinessFacts) -> Iterable[Check]:
    if facts.both_ways:
        yield fail(
            "switch",
            f"{facts.source.alias} and {facts.target.alias} are both open (`loop_guard: origin`)",
            "there is nothing to switch: move the clients",
        )


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMES_MAX])
    return shown if len(names) <= _NAMES_MAX else f"{shown} and {len(names) - _NAMES_MAX:,} more"


def _reach(side: SideFacts, *, must: bool) -> Iterable[Check]:
    if side.unreachable is not None:
        if must:
            yield fail("reachable", f"{side.alias} cannot be asked: {side.unreachable}", "fix that first: nothing "
                       "can be switched to a cluster that does not answer")  # fmt: skip
        else:
            yield warn(
                "reachable",
                f"{side.alias} cannot be asked: {side.unreachable}",
                "a failover needs no answer from it, a switchover does",
            )
        return
    yield ok("reachable", f"{side.alias} answers")
    if side.expected_id and side.cluster_id != side.expected_id:
        yield fail(
            "cluster id",
            f"{side.alias} is cluster {side.cluster_id}, but the flow was created for {side.expected_id}",
            f"fix clusters.{side.alias}.bootstrap in the flow file",
        )
    else:
        yield ok("cluster id", f"{side.alias} is {side.cluster_id}, as in the flow's record")


def _leases(status: FlowStatus) -> Iterable[Check]:
    if status.coordinator_answers is False:
        yield warn("coordinator", "no coordinator answers; copying goes on", "replicator lease list")
    nobody = [str(shard.shard) for shard in status.shards if shard.holder is None]
    if nobody:
        yield fail("leases", f"no daemon works on shards {_some(nobody)}", "start a daemon of this flow")
    elif not status.shards:
        yield warn("leases", "who works on the flow is not known", f"replicator flow status {status.flow}")
    else:
        holders = {shard.holder for shard in status.shards}
        yield ok("leases", f"{len(status.shards)} of {len(status.shards)} shards have a daemon, {len(holders)} "
                 f"{'daemon' if len(holders) == 1 else 'daemons'}")  # fmt: skip
    silent = {
        str(part.holder)
        for mirror in status.mirrors
        for part in mirror.partitions
        if part.reason is Reason.HELD_ELSEWHERE and part.holder
    }
    if silent:
        yield warn("daemons", f"{_some(silent)} cannot be asked what they copy", "look at those daemons")


def _mirrors(status: FlowStatus) -> Iterable[Check]:
    by_state: dict[MirrorState, list[str]] = {}
    gone = [mirror.topic for mirror in status.mirrors if mirror.reason is Reason.SOURCE_MISSING]
    for mirror in status.mirrors:
        if mirror.reason is not Reason.SOURCE_MISSING:
            by_state.setdefault(mirror.state, []).append(mirror.topic)
    if status.flow_uid is None:
        yield warn("mirrors", "the topics of the flow are not known", f"replicator flow status {status.flow}")
    elif not status.mirrors:
        yield warn("mirrors", "the flow mirrors no topic", "check topics.include in the flow file")
    if gone:
        yield warn(
            "mirrors",
            f"{_some(gone)} {'was' if len(gone) == 1 else 'were'} deleted on the source: a switchover leaves "
            f"{'it' if len(gone) == 1 else 'them'} out",
            f"replicator mirror forget {status.flow} {min(gone)}",
        )
    for state, names in sorted(by_state.items()):
        verb = "is" if len(names) == 1 else "are"
        if state is MirrorState.ACTIVE:
            yield ok("mirrors", f"{len(names):,} {verb} ACTIVE")
        elif state is MirrorState.FAULTED:
            yield fail("mirrors", f"{_some(names)} {verb} FAULTED: what follows is not on the target",
                       f"replicator mirror list {status.flow}, then mirror resolve")  # fmt: skip
        elif state is MirrorState.PAUSED:
            yield warn(
                "mirrors", f"{_some(names)} {verb} PAUSED, falling behind", f"replicator flow resume {status.flow}"
            )
        else:
            yield fail("mirrors", f"{_some(names)} {verb} {state}: not yet copied", "wait until they are ACTIVE")


def _writers(facts: ReadinessFacts) -> Iterable[Check]:
    if facts.both_ways:
        return
    if facts.foreign is None:
        yield warn("writers", f"could not check whether anyone else wrote to {facts.target.alias}")
    elif facts.foreign:
        names = [f"{topic}-{partition}" for topic, partition, _ in facts.foreign]
        offsets = sum(count for _, _, count in facts.foreign)
        yield fail("writers", f"someone else wrote {offsets:,} offsets to {_some(names)} on {facts.target.alias}",
                   f"stop that, then replicator mirror list {facts.status.flow}, and mirror resolve")  # fmt: skip
    else:
        yield ok("writers", f"nobody else has written to the mirrors on {facts.target.alias}")


def _freshness(status: FlowStatus, objectives: Objectives, *, source_seen: bool) -> Iterable[Check]:
    rpo, lag, seen = status.rpo_seconds, status.lag_records, status.source_seen_age_seconds
    wait = "wait until the copy has caught up, or raise the objective"
    if rpo is None:
        yield warn("rpo", "how much data is at risk is not known", f"replicator flow status {status.flow}")
    elif rpo > objectives.rpo_seconds:
        yield fail(
            "rpo", f"{format_age(rpo)} of data at risk; the objective is {format_age(objectives.rpo_seconds)}", wait
        )
    else:
        yield ok("rpo", f"{format_age(rpo)} of data at risk; the objective is {format_age(objectives.rpo_seconds)}")
    if lag is None:
        yield warn("lag", "it is not known how far the copy is behind", f"replicator flow status {status.flow}")
    elif lag > objectives.lag_records:
        yield fail("lag", f"{lag:,} records behind; the objective is {objectives.lag_records:,}", wait)
    else:
        yield ok("lag", f"{lag:,} records behind; the objective is {objectives.lag_records:,}")
    if seen is None:
        yield warn("source seen", "not all of the source's ends were seen", f"replicator flow status {status.flow}")
    elif seen > _SEEN_SECONDS_MAX:
        why = "" if source_seen else ": a failover loses at least what was seen then and not copied"
        yield warn("source seen", f"the source's ends were last seen {format_age(seen)} ago{why}", "look at the source")


def _transactions(status: FlowStatus) -> Iterable[Check]:
    hanging = {
        f"{mirror.topic}-{part.partition}"
        for mirror in status.mirrors
        for part in mirror.partitions
        if part.open_transaction_seconds is not None and part.open_transaction_seconds >= _HANGING_SECONDS
    }
    if hanging:
        yield fail(
            "transactions",
            f"an open transaction holds up {_some(hanging)}: a switchover would wait for its end, a failover would "
            "lose what follows it",
            f"replicator flow status {status.flow} names the producer and the command that ends it",
        )
    elif status.source_seen_age_seconds is None or status.source_seen_age_seconds > _SEEN_SECONDS_MAX:
        yield warn("transactions", "it is not known whether one holds up records: the source is not seen")
    else:
        yield ok("transactions", "none holds up records")


def _replication(topics: Iterable[TopicFacts]) -> Iterable[Check]:
    topics = tuple(topics)
    known = [topic for topic in topics if topic.target_replicas is not None]
    unknown = [topic.topic for topic in topics if _is_unknown(topic)]
    bad = [
        *_leaderless(known),
        *_blocked(known),
        *_fewer(
            known,
            "replicas",
            "kafka-reassign-partitions.sh adds replicas",
            lambda one: (one.target_replicas, one.source_replicas),
        ),
        *_fewer(
            known,
            "min.insync.replicas",
            "kafka-configs.sh --alter, after the switch",
            lambda one: (one.target_min_in_sync, one.source_min_in_sync),
        ),
    ]
    yield from bad
    if unknown:
        yield warn("replicas", f"{_some(unknown)}: could not check whether the target has the replicas of the source")
    elif known and not bad:
        yield ok("replicas", f"{len(known):,} topics have the replicas and min.insync.replicas of the source")


def _is_unknown(topic: TopicFacts) -> bool:
    """Return whether any of the compared values is not known."""
    return None in {
        topic.source_replicas,
        topic.target_replicas,
        topic.target_in_sync,
        topic.source_min_in_sync,
        topic.target_min_in_sync,
    }


def _leaderless(topics: Iterable[TopicFacts]) -> Iterable[Check]:
    names = [topic.topic for topic in topics if topic.target_leaderless]
    if names:
        yield fail("replicas", f"partitions of {_some(names)} have no leader on the target", "bring the brokers back")


def _blocked(topics: Iterable[TopicFacts]) -> Iterable[Check]:
    names = [
        topic.topic
        for topic in topics
        if topic.target_min_in_sync is not None
        and topic.target_replicas is not None
        and topic.target_in_sync is not None
        # Kafka requires no more than there are (KAFKA-15583).
        and topic.target_in_sync < min(topic.target_min_in_sync, topic.target_replicas)
    ]
    if names:
        yield fail(
            "replicas",
            f"{_some(names)}: fewer replicas in sync on the target than min.insync.replicas, so acks=all is refused",
            "bring the target's brokers back, or lower min.insync.replicas",
        )


def _fewer(
    topics: Iterable[TopicFacts], what: str, fix: str, both: Callable[[TopicFacts], tuple[int | None, int | None]]
) -> Iterable[Check]:
    names = []
    for topic in topics:
        here, there = both(topic)
        if here is not None and there is not None and here < there:
            names.append(topic.topic)
    if names:
        yield warn("replicas", f"{_some(names)}: fewer {what} on the target than on the source", fix)


def _fence(target: SideFacts) -> Iterable[Check]:
    if target.unreachable is not None:
        return
    if target.markers_allowed is None:
        yield warn("fence", f"{target.alias} does not say whether markers may be written in bulk",
                   "a fence by transactions takes longer for many partitions")  # fmt: skip
    elif target.markers_allowed:
        yield ok("fence", f"{target.alias} takes markers in bulk (WriteTxnMarkers)")
    else:
        yield warn("fence", f"{target.alias} takes no markers in bulk: the fence uses one transaction for all "
                   "partitions", "grant ClusterAction on the cluster for the faster way")  # fmt: skip


def _shown(facts: ReadinessFacts) -> Iterable[Check]:
    if facts.target.unreachable is not None:
        return
    alias = facts.target.alias
    if facts.markers_shown is None:
        yield warn("fence", f"unknown whether {alias} shows markers of this flow, which verify a fence",
                   "rehearse again once the flow copies; the switch itself checks it before its fence")  # fmt: skip
    elif facts.markers_shown:
        yield ok("fence", f"{alias} shows a marker of this flow on replicator.state")
    else:
        yield fail("fence", f"{alias} does not report our producer, which wrote a marker (DescribeProducers): "
                   "a fence could not be verified",
                   "ask its operator for brokers that report what Kafka's own do: no switch can begin")  # fmt: skip


def _groups(facts: ReadinessFacts) -> Iterable[Check]:
    """Report which groups would not keep their exact position; records read twice are not a loss, so none is red."""
    flow = facts.status.flow
    if facts.groups_wait_for is not None:
        yield warn("groups", f"consumer groups do not follow: {facts.groups_wait_for}", f"replicator group list {flow}")
    behind = {group.group for group in facts.groups if group.state not in _FOLLOWED}
    rereads = {group.group for group in facts.groups if group.state in _FOLLOWED and group.reread_records}
    if behind:
        yield warn("groups", f"{_some(behind)} would not keep their position", f"replicator group list {flow}")
    if rereads:
        total = sum(group.reread_records or 0 for group in facts.groups if group.group in rereads)
        yield warn(
            "groups",
            f"{_some(rereads)} would read {total:,} records again in a failover",
            "a switchover keeps their exact position",
        )
    if facts.groups and not behind and not rereads and facts.groups_wait_for is None:
        yield ok("groups", f"{len(facts.groups):,} consumer groups would keep their position")


def _clocks(*sides: SideFacts) -> Iterable[Check]:
    reached = [side for side in sides if side.unreachable is None]
    ahead: Mapping[str, float] = {
        side.alias: side.clock_ahead_seconds for side in reached if side.clock_ahead_seconds is not None
    }
    for alias, seconds in ahead.items():
        if abs(seconds) > _SKEW_SECONDS_MAX:
            direction = "ahead of" if seconds > 0 else "behind"
            yield warn(
                "clocks",
                f"{alias} is {abs(seconds):.1f} s {direction} this machine: displayed ages are off by as much",
                "compare the clocks (timedatectl, chronyc tracking)",
            )
    silent = [side.alias for side in reached if not side.clock_offered]
    if silent:
        yield warn(
            "clocks",
            f"the version of Kafka on {_some(silent)} does not report the time (DescribeQuorum): if its clock is "
            "wrong, displayed ages are off by as much",
            "compare the clocks (timedatectl, chronyc tracking)",
        )
    unknown = [side.alias for side in reached if side.alias not in ahead and side.clock_offered]
    if unknown:
        yield warn(
            "clocks", f"{_some(unknown)} does not report its time (DescribeQuorum)", "grant Describe on the cluster"
        )
    if reached and not unknown and not silent and all(abs(seconds) <= _SKEW_SECONDS_MAX for seconds in ahead.values()):
        worst = max((abs(seconds) for seconds in ahead.values()), default=0.0)
        yield ok("clocks", f"the clusters' clocks agree with this machine's within {worst:.1f} s")
