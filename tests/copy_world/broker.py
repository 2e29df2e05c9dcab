"""What the brokers of both clusters answer. Each cluster has two: who leads the partition moves between them."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kio.schema.describe_producers.v0.response import DescribeProducersResponse, PartitionResponse, ProducerState
from kio.schema.describe_producers.v0.response import TopicResponse as ProducersTopic
from kio.schema.errors import ErrorCode
from kio.schema.list_offsets.v6 import response as offsets6
from kio.schema.list_offsets.v8 import response as offsets8
from kio.schema.metadata.v10.response import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from kio.schema.offset_for_leader_epoch.v4.response import (
    EpochEndOffset,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
)
from kio.schema.types import BrokerId, ProducerId, TopicName
from kio.static.primitive import i32, i64

from replicator.model.names import STATE_TOPIC
from replicator.model.spec import Isolation
from tests.copy_world.fetching import (
    FetchAsked,
    Given,
    Want,
    fetch_answer,
    fetch_asked,
)
from tests.copy_world.rules import TOPIC
from tests.copy_world.target_log import NOT_LEADER_OR_FOLLOWER
from tests.copy_world.transactions import AT_ONCE, TransactionAnswers
from tests.isolation import isolation_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.copy_world.network import Answering, Pipe
    from tests.copy_world.world import World

OUT_OF_RANGE = 1
UNKNOWN_TOPIC = 3
UNKNOWN_TOPIC_ID = 100
FENCED_LEADER_EPOCH = 74
UNKNOWN_LEADER_EPOCH = 75
OFFSET_NOT_AVAILABLE = 78
NO_SESSION = 70
BAD_SESSION_EPOCH = 71
STATE_UNREACHABLE = 7
"""REQUEST_TIMED_OUT"""
LATEST, EARLIEST, EARLIEST_LOCAL = -1, -2, -4
STATE_ID = bytes(15) + b"\x09"
TARGET_ID = bytes(15) + b"\x02"
NODES = (1, 2)
BATCHES_MAX = 6


def source_id(incarnation: int) -> bytes:
    """Return the topic id of an incarnation of the source's topic."""
    return bytes(12) + b"\x01" + incarnation.to_bytes(3, "big")


@dataclass(slots=True)
class Session:
    """A fetch session as its broker keeps it: what is asked of each partition, and what was told last."""

    epoch: int = 1
    wanted: dict[tuple[str | bytes, int], Want] = field(default_factory=dict)
    told: dict[tuple[str | bytes, int], tuple[int, int, int]] = field(default_factory=dict)


class Broker:
    """What both clusters have in common.

    Args:
        world: The world.
        alias: The cluster's name.

    Attributes:
        is_down: Whether none of them can be reached.
        sessions: Fetch sessions, by id.
    """

    def __init__(self, world: World, alias: str) -> None:
        self.world = world
        self.alias = alias
        self.is_down = False
        self.sessions: dict[int, Session] = {}
        self._ids = itertools.count(1)
        transactions = TransactionAnswers(world, alias)
        self._typed: dict[int, Callable[[Pipe, Any], Any]] = {
            2: self._offsets,
            3: self._metadata,
            10: transactions.find_coordinator,
            22: transactions.init_producer,
            23: self._epoch_ends,
            24: transactions.add_partitions,
            26: transactions.end_transaction,
            61: self._producers,
        }

    # -- the network --------------------------------------------------------------------------------------------------

    def closed(self, pipe: Pipe) -> None:
        """A daemon has closed its end."""
        self.world.closed(pipe)

    def opens_seconds(self, pipe: Pipe) -> float:
        """Return how long it takes until a connection is open."""
        return self.world.fetch_opens_seconds if pipe.purpose == "fetch" else 0.0

    def take(self, pipe: Pipe, answering: Answering) -> None:
        """Work on a request; its answer may come later."""
        request = answering.request
        if request.typed is not None:
            answering.give_typed(self._typed[request.api_key](pipe, request.typed))
        elif request.api_key == 1:
            self._fetch(pipe, answering)
        elif request.api_key == 0:
            self._produce(pipe, answering)
        else:
            assert request.api_key == 27, f"request {request.api_key}"
            self._markers(pipe, answering)

    # -- what differs -------------------------------------------------------------------------------------------------

    def leader(self, number: int) -> tuple[int, int]:
        """Return who leads a partition of the flow's topic, and in which epoch."""
        raise NotImplementedError

    def topic_id(self, topic: str) -> bytes | None:
        """Return a topic's id, None where there is none of that name."""
        raise NotImplementedError

    def give(self, want: Want, *, spoils: bool) -> Given:
        """Answer a fetch of a partition of the flow's topic; `spoils`: whether the answer may be spoiled on its way."""
        raise NotImplementedError

    def bounds(self, number: int, timestamp: int) -> int | None:
        """Return the start or the end of a partition of the flow's topic; None where that is not known now."""
        raise NotImplementedError

    def epoch_end(self, number: int, epoch: int) -> tuple[int, int]:
        """Answer OffsetForLeaderEpoch."""
        raise NotImplementedError

    def _producers_of(self, number: int) -> list[tuple[int, int, int, int]]:
        del number
        return []

    def _produce(self, pipe: Pipe, answering: Answering) -> None:
        raise NotImplementedError

    def _markers(self, pipe: Pipe, answering: Answering) -> None:
        raise NotImplementedError

    # -- metadata -----------------------------------------------------------------------------------------------------

    def _metadata(self, pipe: Pipe, request: Any) -> MetadataResponse:
        names = [str(one.name) for one in request.topics or ()]
        brokers = tuple(
            MetadataResponseBroker(node_id=BrokerId(node), host=self.alias, port=i32(node), rack=None) for node in NODES
        )
        del pipe
        return MetadataResponse(
            throttle_time=AT_ONCE,
            brokers=brokers,
            cluster_id=self.alias,
            controller_id=BrokerId(1),
            topics=tuple(self._described(name) for name in names),
        )

    def _described(self, name: str) -> MetadataResponseTopic:
        topic_id = self.topic_id(name)
        if topic_id is None:
            return MetadataResponseTopic(
                error_code=ErrorCode.unknown_topic_or_partition, name=TopicName(name), topic_id=None, partitions=()
            )
        nodes = tuple(map(BrokerId, NODES))
        leaders = [(1, 0)] if name == STATE_TOPIC else [self.leader(each.number) for each in self.world.partitions]
        partitions = tuple(
            MetadataResponsePartition(
                error_code=ErrorCode.none,
                partition_index=i32(number),
                leader_id=BrokerId(node),
                leader_epoch=i32(epoch),
                replica_nodes=nodes,
                isr_nodes=nodes,
            )
            for number, (node, epoch) in enumerate(leaders)
        )
        return MetadataResponseTopic(
            error_code=ErrorCode.none,
            name=TopicName(name),
            topic_id=uuid.UUID(bytes=topic_id),
            partitions=partitions,
        )

    # -- offsets ------------------------------------------------------------------------------------------------------

    def _offsets(self, pipe: Pipe, request: Any) -> Any:
        module = offsets8 if int(request.__version__) == 8 else offsets6
        topics = []
        for topic in request.topics:
            rows = []
            for each in topic.partitions:
                where = str(topic.name), int(each.partition_index)
                code, value = self._offset(
                    pipe, where, int(each.timestamp), isolation=isolation_of(request.isolation_level)
                )
                rows.append(
                    module.ListOffsetsPartitionResponse(
                        partition_index=each.partition_index,
                        error_code=ErrorCode(code),
                        timestamp=i64(-1),
                        offset=i64(value),
                        leader_epoch=i32(-1),
                    )
                )
            topics.append(module.ListOffsetsTopicResponse(name=topic.name, partitions=tuple(rows)))
        return module.ListOffsetsResponse(throttle_time=AT_ONCE, topics=tuple(topics))

    def _offset(self, pipe: Pipe, where: tuple[str, int], timestamp: int, *, isolation: Isolation) -> tuple[int, int]:
        topic, number = where
        if topic == STATE_TOPIC:
            state = self.world.state
            if state.is_down:
                return STATE_UNREACHABLE, -1
            return (
                0,
                0 if timestamp == EARLIEST else state.stable if isolation is Isolation.READ_COMMITTED else state.end,
            )
        if self.leader(number)[0] != pipe.node:
            return NOT_LEADER_OR_FOLLOWER, -1
        value = self.bounds(number, timestamp)
        return (OFFSET_NOT_AVAILABLE, -1) if value is None else (0, value)

    def _epoch_ends(self, pipe: Pipe, request: Any) -> OffsetForLeaderEpochResponse:
        topics = []
        for topic in request.topics:
            rows = []
            for each in topic.partitions:
                code, epoch, end = NOT_LEADER_OR_FOLLOWER, -1, -1
                number = int(each.partition)
                if self.leader(number)[0] == pipe.node:
                    code, (epoch, end) = 0, self.epoch_end(number, int(each.leader_epoch))
                rows.append(
                    EpochEndOffset(
                        error_code=ErrorCode(code),
                        partition=each.partition,
                        leader_epoch=i32(epoch),
                        end_offset=i64(end),
                    )
                )
            topics.append(OffsetForLeaderTopicResult(topic=topic.topic, partitions=tuple(rows)))
        return OffsetForLeaderEpochResponse(throttle_time=AT_ONCE, topics=tuple(topics))

    def _producers(self, pipe: Pipe, request: Any) -> DescribeProducersResponse:
        topics = []
        for topic in request.topics:
            rows = tuple(
                self._described_producers(pipe, str(topic.name), int(each)) for each in topic.partition_indexes
            )
            topics.append(ProducersTopic(name=topic.name, partitions=rows))
        return DescribeProducersResponse(throttle_time=AT_ONCE, topics=tuple(topics))

    def _described_producers(self, pipe: Pipe, topic: str, number: int) -> PartitionResponse:
        of_state = topic == STATE_TOPIC
        mine = of_state or self.leader(number)[0] == pipe.node
        known = self.world.state_producers() if of_state else self._producers_of(number)
        return PartitionResponse(
            partition_index=i32(number),
            error_code=ErrorCode(0 if mine else NOT_LEADER_OR_FOLLOWER),
            error_message=None,
            active_producers=tuple(
                ProducerState(
                    producer_id=ProducerId(producer),
                    producer_epoch=i32(epoch),
                    last_sequence=i32(last),
                    last_timestamp=i64(last_ms),
                    coordinator_epoch=i32(0),
                    current_txn_start_offset=i64(-1),
                )
                for producer, epoch, last, last_ms in (known if mine else ())
            ),
        )

    # -- fetches ------------------------------------------------------------------------------------------------------

    def _fetch(self, pipe: Pipe, answering: Answering) -> None:
        request = answering.request
        asked = fetch_asked(request.body, request.version)
        session: Session | None = None
        session_id = 0
        if asked.session_epoch == 0:
            session_id = next(self._ids)
            session = self.sessions[session_id] = Session()
        elif asked.session_epoch > 0:
            session_id, session = asked.session_id, self.sessions.get(asked.session_id)
            if session is None or session.epoch != asked.session_epoch:
                code = NO_SESSION if session is None else BAD_SESSION_EPOCH
                answering.give(fetch_answer(0, [], code))
                return
            session.epoch += 1
        if session is not None:
            for each in asked.forgotten:
                session.wanted.pop(each, None)
            for want in asked.wanted:
                session.wanted[want.topic, want.partition] = want
                session.told.pop((want.topic, want.partition), None)
        if not self._answer_fetch(pipe, answering, asked, session, session_id, at_last=asked.wait_ms <= 0):
            pipe.parked = answering, self.world.now_ms + asked.wait_ms
            self.world.parked[pipe] = lambda *, at_last: self._answer_fetch(
                pipe, answering, asked, session, session_id, at_last=at_last
            )

    def _answer_fetch(
        self,
        pipe: Pipe,
        answering: Answering,
        asked: FetchAsked,
        session: Session | None,
        session_id: int,
        *,
        at_last: bool,
    ) -> bool:
        """Answer, unless there is nothing to say and the fetch may wait; return whether it was answered."""
        rows: list[tuple[str | bytes, int, Given]] = []
        has_news = False
        told: dict[tuple[str | bytes, int], tuple[int, int, int]] = {}
        for want in (*session.wanted.values(),) if session is not None else asked.wanted:
            given = self._given(pipe, want, isolation=asked.isolation)
            bounds = given.high_watermark, given.stable, given.log_start
            is_news = bool(given.error or given.records or given.diverging)
            has_news |= is_news
            if session is not None:
                key = want.topic, want.partition
                if not is_news and session.told.get(key) == bounds:
                    continue
                told[key] = bounds
            rows.append((want.topic, want.partition, given))
        if not has_news and not at_last:
            return False
        if session is not None:
            session.told.update(told)
        answering.give(fetch_answer(session_id, rows))
        return True

    def _given(self, pipe: Pipe, want: Want, *, isolation: Isolation) -> Given:
        if want.topic in {STATE_TOPIC, STATE_ID}:
            return self._given_of_state(want, isolation=isolation)
        name = want.topic if isinstance(want.topic, str) else None
        if name is None and want.topic != self.topic_id(TOPIC):
            return Given(UNKNOWN_TOPIC_ID)
        node, epoch = self.leader(want.partition)
        if node != pipe.node:
            return Given(NOT_LEADER_OR_FOLLOWER)
        if want.leader_epoch >= 0 and want.leader_epoch != epoch:
            return Given(FENCED_LEADER_EPOCH if want.leader_epoch < epoch else UNKNOWN_LEADER_EPOCH)
        return self.give(want, spoils=pipe.purpose == "fetch")

    def _given_of_state(self, want: Want, *, isolation: Isolation) -> Given:
        state = self.world.state
        if state.is_down:
            return Given(STATE_UNREACHABLE)
        if not 0 <= want.offset <= state.end:
            return Given(OUT_OF_RANGE, state.end, state.stable, 0)
        found = state.batches_from(want.offset, isolation=isolation, batches_max=50)
        aborted = state.aborted_in(found) if isolation is Isolation.READ_COMMITTED else ()
        return Given(0, state.end, state.stable, 0, None, aborted, b"".join(each.raw for each in found))
