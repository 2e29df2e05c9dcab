"""What on a cluster is ours to change: topics, rules of an authorizer, and commits of groups.

Nothing is changed before it is proven ours, and the proof is a value. Code that changes a cluster (`admin.topics`,
`admin.acls`, `engine.groups.sides`, `wire.messages.control.delete_records`) takes such a value instead of a name, so
a caller without a proof does not pass the type checker. This module alone creates these values.

A topic is ours

- if the record of a mirror of this flow names its topic id (`recorded`);
- if we created it (`created`);
- if it existed before us and never held a record (`adopted`): it is recorded before it is changed in any way;
- if an operator gave it up, to be deleted (`given_up`), or accepted it: that is recorded, too.

A name proves nothing: a topic may be deleted and created again between two looks. So the proven id is compared with the
cluster's once more just before each change (`admin.topics`, `engine.state.ownership.confirm`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from replicator.core.groups.sync import WrittenCommit
from replicator.core.topics.plan import MirrorFault
from replicator.errors import BugError, Conflict
from replicator.model.acl import Rule
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.status.groups import Committed
from replicator.model.status.states import Reason

DOUBTS = frozenset(
    {
        Reason.FOREIGN_WRITER,
        Reason.CONTENT_MISMATCH,
        Reason.SOURCE_TRUNCATED,
        Reason.SOURCE_RECREATED,
        Reason.TARGET_RECREATED,
        Reason.FENCED,
    }
)
"""Reasons of a partition for which its topic is left as it is: it may hold records that are not ours."""
NO_TOPIC_ID = bytes(16)
"""The id on clusters without topic ids: there the name is all there is."""


class OwnershipReason(enum.StrEnum):
    """Why a topic is ours."""

    RECORDED = "recorded"
    CREATED = "created"
    NEVER_WRITTEN = "never_written"
    SHARED = "shared"
    GIVEN_UP = "given_up"
    HOLDS_ONLY_OURS = "holds_only_ours"


@dataclass(frozen=True, slots=True)
class OwnedTopic:
    """A topic that was proven to be ours.

    Attributes:
        name: Its name.
        topic_id: 16 bytes, `NO_TOPIC_ID` if the cluster reports none: the proof is about this topic alone.
        because: Why it is ours.
    """

    name: str
    topic_id: bytes
    because: OwnershipReason

    def is_still(self, topic_id: bytes | None) -> bool:
        """Return whether the topic that has its name now is certainly the one that was proven.

        If the proof or the cluster has no id, that is so only if neither has one: an unknown id equals no other.

        Args:
            topic_id: The id of the topic that has this name now; None if there is none.
        """
        return topic_id == self.topic_id

    def why_not(self, topic_id: bytes | None) -> str:
        """Return why a topic for which `is_still` is false was left as it is."""
        if topic_id is None:
            return "it is gone"
        if not any(topic_id):
            return "its cluster does not report its topic id now"
        if not any(self.topic_id):
            return "it was proven ours while its cluster reported no topic ids, and now it does"
        return "it was deleted and created again since it was proven ours"


class MirrorOnSource(NamedTuple):
    """A mirror on a flow's own source that is fed from a topic of its target: the mirror's name, and its flow."""

    mirror: str
    flow: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a topic that exists on the target under the name of a mirror.

    Attributes:
        name: Its name.
        topic_id: Its current id.
        is_recorded: Whether a record of this flow says that it is a mirror.
        recorded_id: The id in that record; without one, the record says nothing about a topic that has an id.
        owner: Name of another flow whose record says that it feeds this topic; None for none.
        source_of: Mirror on our own source that is recorded as fed from this very topic; None for none.
        flow: Name of the asking flow, for messages.
        written: A partition that has held records, and its end; None if none has.
        ends_with_ours: Whether one of its logs ends with a batch of this flow's own producers, and none with another's.
        shared: Whether others write to the target as well, and the flow only adds to it (`loop_guard: origin`).
    """

    name: str
    topic_id: bytes
    is_recorded: bool = False
    recorded_id: bytes = NO_TOPIC_ID
    owner: str | None = None
    source_of: MirrorOnSource | None = None
    flow: str = "FLOW"
    written: tuple[int, int] | None = None
    ends_with_ours: bool = False
    shared: bool = False


def proven(evidence: Evidence) -> OwnedTopic | MirrorFault:
    """Return the proof that a topic on the target is ours, or why it is not."""
    if evidence.is_recorded:
        owned = recorded(evidence.name, evidence.recorded_id)
        if owned.is_still(evidence.topic_id):
            return owned
        if any(evidence.recorded_id):
            return MirrorFault(
                Reason.TARGET_RECREATED,
                f"the target topic {evidence.name} was deleted and created again: it is not the one that is recorded "
                "as ours",
            )
    if evidence.shared:
        return OwnedTopic(evidence.name, evidence.topic_id, _why_unrecorded(evidence))
    return _of_others(evidence) or OwnedTopic(evidence.name, evidence.topic_id, _why_unrecorded(evidence))


def _why_unrecorded(evidence: Evidence) -> OwnershipReason:
    if evidence.is_recorded:  # while its cluster reported no ids; its records are ours
        return OwnershipReason.RECORDED
    return OwnershipReason.SHARED if evidence.shared else OwnershipReason.NEVER_WRITTEN


def _of_others(evidence: Evidence) -> MirrorFault | None:
    """Return why a topic whose id no record of this flow names is not ours; None if nothing says so."""
    name = evidence.name
    if evidence.owner is not None:
        return MirrorFault(Reason.OTHER_OWNER, f"{name} is a mirror of flow {evidence.owner}")
    if evidence.source_of is not None:
        return MirrorFault(
            Reason.TARGET_TAKEN,
            f"{circle_text(name, evidence.source_of)}; next: {circle_step(name, evidence.source_of, evidence.flow)}",
        )
    if evidence.written is not None and not (evidence.is_recorded and evidence.ends_with_ours):
        return MirrorFault(Reason.FOREIGN_WRITER, _foreign(evidence, *evidence.written))
    return None


def circle_text(topic: str, copied: MirrorOnSource) -> str:
    """Return why a topic of the target cannot be a mirror: it is being copied to the source."""
    return (
        f"{topic} on the target is itself the source of {copied.mirror} on the source, a mirror of flow {copied.flow}: "
        "copying it back would go in a circle"
    )


def circle_step(topic: str, copied: MirrorOnSource, flow: str) -> str:
    """Return what helps against such a circle; `flow` is the asking flow."""
    return (
        f"correct `from` and `to` if they are swapped; else rename the mirrors (topics.rename), or exclude it; if flow "
        f"{copied.flow} is not to copy it any more, take {topic} out of that flow (topics.exclude, and restart its "
        f"daemons), `replicator mirror forget {copied.flow} {topic}`, and if the topic holds records, "
        f"`replicator mirror resolve {flow} TOPIC --how accept`"
    )


def _foreign(evidence: Evidence, partition: int, end: int) -> str:
    there = f"partition {partition} ends at {end}"
    if evidence.is_recorded:
        return (
            f"{evidence.name} is recorded as a mirror of this flow without a topic id, and the target reports one now: "
            f"its records do not show that it is ours, {there}; `mirror resolve --how accept` resumes it there"
        )
    return (
        f"{evidence.name} already exists on the target and is not a mirror of this flow: {there}. If it was one, and "
        f"{STATE_TOPIC} was lost, `mirror resolve --how accept` resumes it where it ends"
    )


def merged_names(targets: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the target topics that several source topics would be copied to, each with these in name order.

    Args:
        targets: Source topic -> target topic.
    """
    found: dict[str, list[str]] = {}
    for name, target_name in sorted(targets.items()):
        found.setdefault(target_name, []).append(name)
    return {target_name: tuple(names) for target_name, names in found.items() if len(names) > 1}


def recorded(name: str, topic_id: bytes) -> OwnedTopic:
    """Return the proof for a topic whose id is in a record of this flow.

    Raises:
        BugError: The record names no topic.
    """
    if not name:
        raise BugError("a record of no topic proves nothing")
    return OwnedTopic(name, topic_id or NO_TOPIC_ID, OwnershipReason.RECORDED)


def created(name: str, topic_id: bytes) -> OwnedTopic:
    """Return the proof for a topic that the cluster has created for us."""
    return OwnedTopic(name, topic_id, OwnershipReason.CREATED)


def given_up(name: str, topic_id: bytes) -> OwnedTopic:
    """Return the proof for a topic that, as is recorded, an operator wants deleted."""
    return OwnedTopic(name, topic_id, OwnershipReason.GIVEN_UP)


def holding_only_ours(name: str, topic_id: bytes) -> OwnedTopic:
    """Return the proof for a topic without a record: it is empty, or its records carry our headers."""
    return OwnedTopic(name, topic_id, OwnershipReason.HOLDS_ONLY_OURS)


# -- rules of an authorizer -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OwnedRules:
    """Rules that are recorded as ours, before they are placed and until they are gone. In the order of the change."""

    rules: tuple[Rule, ...]


def recorded_rules(rules: Iterable[Rule], record: Iterable[Rule]) -> OwnedRules:
    """Return the proof for rules to place or remove.

    Args:
        rules: The rules.
        record: All rules that are recorded as ours on that cluster now.

    Raises:
        BugError: One of them is not recorded.
    """
    wanted, known = tuple(rules), frozenset(record)
    strange = [rule for rule in wanted if rule not in known]
    if strange:
        raise BugError(f"a rule that is not recorded as ours is not touched: {strange[0]}")
    return OwnedRules(wanted)


def probe_rule(rule: Rule, made_up: str) -> OwnedRules:
    """Return the proof for a rule about a resource that does not exist, whose name was made up for it.

    Raises:
        BugError: It is about another resource.
    """
    if rule.name != made_up:
        raise BugError(f"{rule} is not about {made_up}")
    return OwnedRules((rule,))


# -- commits of groups ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OwnedCommits:
    """Commits of one group that are recorded as ours before they are written, by partition of the target."""

    group: str
    commits: Mapping[TopicPartition, Committed]


def recorded_commits(
    group: str, commits: Mapping[TopicPartition, Committed], record: Mapping[TopicPartition, WrittenCommit]
) -> OwnedCommits:
    """Return the proof for commits of a group.

    Args:
        group: The group.
        commits: What to commit.
        record: What is recorded as written for it.

    Raises:
        Conflict: One of them is not recorded, or no longer: another daemon of the flow has decided since.
    """
    for where, one in commits.items():
        if where not in record or record[where].offset != one.offset:
            raise Conflict(f"a commit of group {group} for {where} that is not recorded as ours is not written")
    return OwnedCommits(group, commits)


def made_up_commits(group: str, commits: Mapping[TopicPartition, Committed]) -> OwnedCommits:
    """Return the proof for commits of a made-up group, on a cluster that the caller started for it."""
    return OwnedCommits(group, commits)
