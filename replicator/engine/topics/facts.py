"""The facts about topics on both sides, and what has to be done to make each target topic the mirror of its source."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.topics.plan import (
    MirrorFault,
    RecordedTopic,
    SourceTopic,
    TargetCluster,
    TargetTopic,
    TopicPlan,
    changes_of,
    plan_topic,
)
from replicator.engine.state import records as state
from replicator.engine.topics.mirror import Mirror
from replicator.errors import AuthorizationFailed, KafkaError, PreflightFailed
from replicator.model.names import STATE_TOPIC
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.admin.topic_values import TopicConfig
    from replicator.admin.topics import TopicAdmin
    from replicator.engine.state.topic.log import StateLog
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic

MAX_BYTES = "max.message.bytes"
POLICY = "cleanup.policy"
DELETE_RETENTION = "delete.retention.ms"
_TIMESTAMP_TYPE = "message.timestamp.type"
_EFFECTIVE = (POLICY, "retention.ms", "retention.bytes", MAX_BYTES, DELETE_RETENTION, _TIMESTAMP_TYPE)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TopicPair:
    """The facts about one topic, from both sides."""

    source: Topic
    target: Topic | None
    source_config: TopicConfig | None
    target_config: TopicConfig | None
    configs_error: KafkaError | None = None
    """Why settings on one of the sides are unknown."""


class TopicFacts:
    """Reads a flow's topics on both sides and plans them.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        source: The source cluster.
        target: The cluster with the mirrors.
        admins: The admin clients of source and target.
        state_log: The state topic of the target.

    Attributes:
        known_configs: The settings that topics of the target can have; None while that is unknown.
    """

    def __init__(
        self,
        flow: FlowSpec,
        uid: str,
        source: Cluster,
        target: Cluster,
        admins: tuple[TopicAdmin, TopicAdmin],
        state_log: StateLog,
    ) -> None:
        self.known_configs: frozenset[str] | None = None
        self._flow = flow
        self._uid = uid
        self._source = source
        self._target = target
        self._source_admin, self._target_admin = admins
        self._log = state_log

    async def of(self, names: list[str], targets: Mapping[str, str]) -> dict[str, TopicPair]:
        """Return the facts about topics from both sides; a refusal for one topic is reported with that topic only."""
        existing = sorted({targets[name] for name in names if targets[name] in self._target.topics})
        configs_error: tuple[dict[str, KafkaError], dict[str, KafkaError]] = {}, {}
        there, here = await asyncio.gather(
            self._source_admin.describe_configs(names, configs_error[0]),
            self._target_admin.describe_configs(existing, configs_error[1]),
        )
        if self.known_configs is None:
            here |= await self._state_config()
        for config in here.values():
            self.known_configs = frozenset(config.effective)
        return {
            name: TopicPair(
                self._source.topics[name],
                self._target.topics.get(targets[name]),
                there.get(name),
                here.get(targets[name]),
                configs_error[0].get(name) or configs_error[1].get(targets[name]),
            )
            for name in names
            if name in self._source.topics
        }

    async def _state_config(self) -> dict[str, TopicConfig]:
        """Return the settings of the state topic: it exists on the target before any mirror, and lists all settings.

        Which settings a topic can have differs between Kafka versions, and one unknown name fails a whole topic.
        """
        try:
            found = await self._target_admin.describe_configs([STATE_TOPIC])
        except AuthorizationFailed as error:
            log.warning("the target does not tell which settings it knows", why=str(error), next=error.next_step)
            return {}
        takes = effective_of(found.get(STATE_TOPIC)).get(MAX_BYTES)
        if takes is not None:
            self._log.learn_limit(int(takes))
        return found

    def plan(self, mirror: Mirror, found: TopicPair) -> TopicPlan:
        """Return what has to be done to a target topic, going by its own facts alone (`fault` adds the rest)."""
        source = SourceTopic(
            name=mirror.topic,
            topic_id=state.uuid_text(found.source.topic_id),
            partitions=found.source.partition_count,
            replication_factor=found.source.replication_factor,
            configs=found.source_config.dynamic if found.source_config else {},
            effective=effective_of(found.source_config),
            unreported=found.source_config.unreported if found.source_config else frozenset(),
        )
        target = _target_side(found)
        recorded = RecordedTopic(
            source_id=state.uuid_text(mirror.source_id),
            target_id=state.uuid_text(mirror.target_id),
            managed=mirror.managed,
            seeding=len(mirror.active) < found.source.partition_count
            and "compact" not in mirror.managed.get(POLICY, ""),
        )
        cluster = TargetCluster(len(self._target.brokers), self.known_configs)
        return plan_topic(source, target, self._flow, cluster, target_name=mirror.target_topic, recorded=recorded)

    async def changes_once_ours(self, mirror: Mirror) -> tuple[str, ...]:
        """Return what the next pass would change on a target topic that an operator accepts as it is: from and to.

        Raises:
            PreflightFailed: It cannot be a mirror, whoever owns it.
            KafkaError: A cluster cannot be asked.
        """
        names = {mirror.topic: mirror.target_topic}
        await asyncio.gather(self._source.refresh(list(names)), self._target.refresh(list(names.values())))
        found = (await self.of([mirror.topic], names)).get(mirror.topic)
        if found is None or found.target is None:
            return ()
        if found.configs_error is not None:
            raise found.configs_error
        accepted = Mirror(mirror.topic, mirror.target_topic, managed=mirror.managed)
        # Nothing is seeded for partitions that were accepted.
        accepted.active = set(range(min(found.source.partition_count, found.target.partition_count)))
        plan = self.plan(accepted, found)
        fault = self.fault(accepted, found, plan)
        if fault is not None:
            raise PreflightFailed(
                f"{mirror.target_topic} cannot be accepted",
                why=fault.text,
                next_step="mirror it under another name (`rename`)",
            )
        effective = found.target_config.effective if found.target_config is not None else {}
        in_force = {name: one.value for name, one in effective.items() if one.value is not None}
        return changes_of(plan, _target_side(found), in_force)

    def fault(self, mirror: Mirror, found: TopicPair, plan: TopicPlan) -> MirrorFault | None:
        """Return why the two topics cannot be a mirror."""
        return self._not_mappable(mirror, found) or self._not_shareable(mirror, found) or plan.fault

    def _not_mappable(self, mirror: Mirror, found: TopicPair) -> MirrorFault | None:
        """Return a fault if offsets are mapped and the topic is compacted: the map rests on counting records."""
        if "compact" not in effective_of(found.source_config).get(POLICY, ""):
            return None
        record = state.get_mirror(self._log.records, self._uid, mirror.target_topic)
        mapped = record is not None and any(one.mapped for one in record.maps.values())
        if self._flow.offsets is not Offsets.MAPPED and not mapped:
            return None
        return MirrorFault(
            Reason.NOT_MAPPABLE,
            f"{mirror.topic} is compacted, and topics with mapped offsets must not be: use `offsets: auto` for it, "
            "in a flow of its own",
        )

    def _not_shareable(self, mirror: Mirror, found: TopicPair) -> MirrorFault | None:
        """Return why others must not write to this target topic as well: their records could not be told from ours."""
        if not self._flow.both_ways:
            return None
        here = effective_of(found.target_config)
        if "compact" in here.get(POLICY, "") + effective_of(found.source_config).get(POLICY, ""):
            return MirrorFault(
                Reason.NOT_MAPPABLE,
                f"{mirror.topic} is compacted, and where both sides are written to (`loop_guard: origin`) offsets are "
                "mapped, which takes logs that are not compacted: leave it out of this flow (`exclude`)",
            )
        if here.get(_TIMESTAMP_TYPE) == "LogAppendTime":
            return MirrorFault(
                Reason.TARGET_REFUSED,
                f"{mirror.target_topic} gives records times of its own (message.timestamp.type=LogAppendTime), so they "
                "would not be the same on both sides; set it to CreateTime",
            )
        return None


def _target_side(found: TopicPair) -> TargetTopic | None:
    if found.target is None:
        return None
    return TargetTopic(
        topic_id=state.uuid_text(found.target.topic_id),
        partitions=found.target.partition_count,
        replication_factor=found.target.replication_factor,
        configs=found.target_config.dynamic if found.target_config else {},
    )


def effective_of(config: TopicConfig | None) -> dict[str, str]:
    """Return the settings in force that the copying depends on; none if they cannot be read."""
    if config is None:
        return {}
    return {
        name: value.value for name, value in config.effective.items() if name in _EFFECTIVE and value.value is not None
    }
