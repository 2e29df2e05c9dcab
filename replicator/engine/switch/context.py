"""What a switch works on: the two clusters, the flow's state, and what this daemon knows about the copying."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from replicator.core.topics.ownership import recorded
from replicator.engine.state import records as state
from replicator.engine.state.journal import switches_of
from replicator.engine.state.ownership.identity import ensure_state_topic
from replicator.engine.state.topic.log import StateLog
from replicator.engine.switch.takeover import taken_by
from replicator.engine.work.fence import COPIES_WITH_THE_FLOW
from replicator.errors import BrokerRefused, ConnectionFailed, NotOurs, PreflightFailed
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.switch.terms import Outcome, Verb
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.model.spec import FlowSpec
    from replicator.model.status.groups import GroupOutcome
    from replicator.model.switch.journal import Journal, Switches
    from replicator.model.switch.terms import Scope
    from replicator.wire.cluster import Cluster

SOURCE_SECONDS_MAX = 8.0
"""How long to wait for a source that may be gone, each time we ask it."""


class Copying(Protocol):
    """What a switch needs to know about the copying of a flow, in a daemon where the flow is up."""

    def paused(self) -> bool:
        """Return whether the operator paused it."""
        ...

    def wanted(self) -> Iterable[TopicPartition]:
        """Return every partition of the source that the flow selects, as the source was last described."""
        ...

    def behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return the partitions that are not yet copied up to their source offset, each with how far it is."""
        ...

    async def stopped(self) -> dict[str, str]:
        """Return the mirrors that have stopped, each with the reason."""
        ...

    def left_out(self) -> frozenset[str]:
        """Return the source topics of recorded mirrors that are left out of the flow, whatever its patterns say."""
        ...

    async def final_group_sync(
        self, ends: Mapping[TopicPartition, int] | None, topics: Collection[str], *, timeout_seconds: float
    ) -> tuple[GroupOutcome, ...]:
        """Move groups to their final positions (`GroupSync.final_sync`)."""
        ...

    async def forget_groups(self, target_topics: Collection[str]) -> None:
        """Leave the commits on the target to its consumers (`GroupSync.forget`)."""
        ...

    def works_first(self) -> bool:
        """Return whether this daemon works on the first shard."""
        ...


@dataclass(slots=True)
class SwitchContext:
    """What the switches of one flow work on, in one daemon.

    Attributes:
        flow: Its policy.
        reverse: The reverse flow, None if the file has none.
        source: Its source, which may be unreachable.
        target: Its target.
        admins: Admin clients of source and target.
        log: The state topic of the target.
        uid: Uid of the flow.
        me: This daemon.
        copying: Returns the copying, None while it is not up here.
    """

    flow: FlowSpec
    reverse: FlowSpec | None
    source: Cluster
    target: Cluster
    admins: tuple[TopicAdmin, TopicAdmin]
    log: StateLog
    uid: str
    me: str
    copying: Callable[[], Copying | None]
    _source_log: StateLog | None = field(default=None, init=False)

    async def source_log(self) -> StateLog:
        """Return the state topic of the source, created if missing, and read to its end.

        Raises:
            KafkaError: The source cannot be asked, or refuses.
        """
        if self._source_log is None:
            await ensure_state_topic(self.source, self.admins[0])
            self._source_log = StateLog(self.source)
        await self._source_log.read_to_end()
        return self._source_log

    async def has_source_log(self) -> bool:
        """Return whether the source has a state topic; asking does not create it.

        Raises:
            KafkaError: The source cannot be asked.
        """
        return await self.source.describe(STATE_TOPIC) is not None

    async def reach_source(self) -> None:
        """Return if the source answers.

        Raises:
            KafkaError: It does not, or is the wrong cluster.
        """
        try:
            async with asyncio.timeout(SOURCE_SECONDS_MAX):
                await self.source.open()
        except TimeoutError:
            raise ConnectionFailed(
                f"cluster {self.source.spec.alias!r} does not answer within {SOURCE_SECONDS_MAX:g} s",
                cluster=self.source.spec.alias,
            ) from None

    def reverse_uid(self, log: StateLog) -> str:
        """Return the uid of the reverse flow, whose state is on the source.

        Raises:
            PreflightFailed: There is no such flow, or it was never started.
        """
        reverse = self.reversed()
        found = state.find_flow(log.records, reverse.name, self.target.cluster_id, self.source.cluster_id)
        if found is None:
            raise PreflightFailed(
                f"flow {reverse.name!r} was never started on {self.flow.source}",
                next_step=f"start a daemon that runs it: replicator flow status {reverse.name}",
            )
        return found.uid

    async def reverse_records(self) -> tuple[Mapping[bytes, bytes], str | None]:
        """Return the records of the source's state topic, and the reverse flow's uid; None if it was never started.

        Raises:
            KafkaError: The source cannot be asked.
        """
        if self.reverse is None or not await self.has_source_log():
            return {}, None
        records = (await self.source_log()).records
        found = state.find_flow(records, self.reverse.name, self.target.cluster_id, self.source.cluster_id)
        return records, None if found is None else found.uid

    async def reverse_switch(self) -> Journal | None:
        """Return the running switch of the reverse flow; None if there is none or the flow was never started.

        Raises:
            KafkaError: The source cannot be asked.
        """
        records, uid = await self.reverse_records()
        return None if uid is None else switches_of(records, uid).running

    async def reverse_opened(self, switches: Switches, topics: Collection[str]) -> bool:
        """Return whether the reverse flow took over from the last switch of this one, and was opened since.

        Its mirrors record from which switch they began to copy, so the order of events does not depend on a clock.

        Raises:
            KafkaError: The source cannot be asked.
        """
        records, uid = await self.reverse_records()
        writers = state.writers_of(records, uid) if uid is not None else None
        if uid is None or writers is None:
            return False
        return any(
            not writers.copies(mirror.target_topic)
            and taken_by(mirror) in _since_last_opened(switches, mirror.target_topic)
            for mirror in state.mirrors_of(records, uid)
            if not topics or mirror.target_topic in topics
        )

    def reversed(self) -> FlowSpec:
        """Return the reverse flow.

        Raises:
            PreflightFailed: The file has none.
        """
        if self.reverse is None:
            raise PreflightFailed(
                f"no flow copies back from {self.flow.target} to {self.flow.source}",
                next_step=f"add a flow with `reverse_of: {self.flow.name}` to the flow file, and reload the daemon "
                "(SIGHUP)",
            )
        return self.reverse


def takes_over(journal: Journal) -> str:
    """Return the text by which a mirror of the reverse flow records from which switch it began to copy."""
    return f"{journal.verb} {journal.id} of {journal.flow}"


def _since_last_opened(switches: Switches, topic: str) -> set[str]:
    """Return the texts (see `takes_over`) of the last switch that opened a topic, and of failbacks since."""
    found: set[str] = set()
    for journal in reversed(switches.all):
        if journal.outcome is not Outcome.DONE or topic not in journal.scope:
            continue
        found.add(takes_over(journal))
        if journal.verb is not Verb.FAILBACK:
            break
    return found


def mirrors_in(records: Mapping[bytes, bytes], uid: str, scope: Scope) -> list[pb.MirrorRecord]:
    """Return the mirrors in a switch's scope: those of the named source topics, or all that were not switched alone.

    A mirror that was switched alone has already changed hands: its source is now the passive side.
    """
    meant = [one for one in state.mirrors_of(records, uid) if one.source_topic in scope]
    if scope.topics:
        return meant
    apart = switched_alone(records, uid)
    return [one for one in meant if one.target_topic not in apart]


def switched_alone(records: Mapping[bytes, bytes], uid: str) -> set[str]:
    """Return the target topics of the mirrors that were switched separately from their flow."""
    return {topic for topic, own in state.own_writers(records, uid).items() if own.role not in COPIES_WITH_THE_FLOW}


def target_topics(records: Mapping[bytes, bytes], uid: str, topics: Iterable[str]) -> dict[str, str]:
    """Return the target topic of each of these source topics that the flow mirrors or has mirrored."""
    named = set(topics)
    return {one.source_topic: one.target_topic for one in state.mirrors_of(records, uid) if one.source_topic in named}


async def partitions_of(target: Cluster, mirrors: Iterable[pb.MirrorRecord]) -> dict[TopicPartition, pb.MirrorRecord]:
    """Return every partition of these mirrors on the target.

    A deleted topic has none, nor has one that was created again: it is not the recorded one.

    Raises:
        KafkaError: The target cannot be asked, or does not report a topic or a partition right now.
    """
    by_name = {one.target_topic: one for one in mirrors}
    topics = await target.existing(by_name)
    found: dict[TopicPartition, pb.MirrorRecord] = {}
    for name, topic in topics.items():
        mirror = by_name[name]
        known = any(mirror.target_topic_id) or not mirror.doomed_topic_id
        owned = recorded(name, mirror.target_topic_id if known else mirror.doomed_topic_id)
        if not owned.is_still(topic.topic_id):
            if (any(owned.topic_id) and any(topic.topic_id)) or not state.names_its_topic(mirror):
                continue
            raise NotOurs(
                f"it is not known whether {name} is the recorded mirror",
                cluster=target.spec.alias,
                why=owned.why_not(topic.topic_id),
                next_step="replicator mirror list",
            )
        missing = set(mirror.active_partitions) - topic.leaders.keys()
        if missing:
            raise BrokerRefused(
                f"{target.spec.alias} does not report {TopicPartition(name, min(missing))} right now",
                cluster=target.spec.alias,
                code=0,
                api="Metadata",
                retryable=True,
            )
        found.update({TopicPartition(name, number): mirror for number in topic.leaders})
    return found
