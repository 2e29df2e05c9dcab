"""The brokers of the source and those of the target: what of their answers comes from the logs themselves."""

from __future__ import annotations

import io
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from kio.schema.delete_records.v2.response import (
    DeleteRecordsPartitionResult,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from kio.schema.errors import ErrorCode
from kio.schema.write_txn_markers.v1.request import WriteTxnMarkersRequest
from kio.schema.write_txn_markers.v1.response import (
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
)
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32, i64

from replicator.model.batch import MAGIC_V2
from replicator.model.names import STATE_TOPIC
from replicator.wire.batches.batch import scan
from tests.copy_world.batches import placed, produced_from, source_bytes, stored_bytes
from tests.copy_world.broker import (
    BATCHES_MAX,
    EARLIEST,
    EARLIEST_LOCAL,
    NODES,
    OUT_OF_RANGE,
    STATE_ID,
    STATE_UNREACHABLE,
    TARGET_ID,
    UNKNOWN_TOPIC,
    Broker,
    source_id,
)
from tests.copy_world.fetching import Given, Want, produce_answer, produce_asked
from tests.copy_world.rules import TOPIC
from tests.copy_world.source_log import BATCH_BYTES_MAX, SourceBatch
from tests.copy_world.target_log import CLUSTER_AUTHORIZATION_FAILED, TargetPartition
from tests.copy_world.transactions import AT_ONCE

if TYPE_CHECKING:
    from tests.copy_world.network import Answering, Pipe
    from tests.copy_world.world import World


class SourceBrokers(Broker):
    """The cluster that is copied from."""

    def leader(self, number: int) -> tuple[int, int]:
        """See `Broker.leader`."""
        epoch = self.world.partitions[number].source.epochs[-1][0]
        return _leader(number, epoch), epoch

    def topic_id(self, topic: str) -> bytes | None:
        """See `Broker.topic_id`."""
        return source_id(self.world.source.incarnation) if topic == TOPIC else None

    def give(self, want: Want, *, spoils: bool) -> Given:
        """See `Broker.give`."""
        partition = self.world.partitions[want.partition]
        source = partition.source
        end, start = source.end, source.start
        answer = source.fetch(source.incarnation, want.offset, want.last_epoch, BATCHES_MAX)
        if answer.refusal is not None:
            return Given(OUT_OF_RANGE, end, end, start)
        if answer.diverging is not None:
            return Given(0, end, end, start, answer.diverging)
        given = partition.spoiled(answer) if spoils else answer
        raws = [_stored(batch, answer.batches) for batch in given.batches]
        return Given(0, end, end, start, None, answer.aborted, b"".join(raws))

    def bounds(self, number: int, timestamp: int) -> int | None:
        """See `Broker.bounds`."""
        source = self.world.partitions[number].source
        return source.start if timestamp in {EARLIEST, EARLIEST_LOCAL} else source.end

    def epoch_end(self, number: int, epoch: int) -> tuple[int, int]:
        """See `Broker.epoch_end`."""
        return self.world.partitions[number].source.epoch_end(epoch)


def _leader(number: int, term: int) -> int:
    """Return the node that leads a partition: one leads two of three, until that changes."""
    return NODES[(number // 2 + term) % len(NODES)]


def _stored(batch: SourceBatch, honest: tuple[SourceBatch, ...]) -> bytes:
    """Return a batch as bytes; one that was spoiled has its own checksum, which covers not all that it claims."""
    # Records are never shared by two batches, so those of a spoiled one tell which it was.
    found = next((each for each in honest if each.records and each.records is batch.records), batch)
    raw = source_bytes(found, BATCH_BYTES_MAX if found.header.size > BATCH_BYTES_MAX else 0)
    if found is batch:
        return raw
    if found.header.magic != MAGIC_V2:
        return batch.header.base_offset.to_bytes(8, "big", signed=True) + raw[8:]
    return placed(raw, batch.header.base_offset, batch.header.leader_epoch)


class TargetBrokers(Broker):
    """The cluster that is copied to, with `replicator.state`."""

    def __init__(self, world: World, alias: str) -> None:
        super().__init__(world, alias)
        self._typed[21] = self._delete

    def leader(self, number: int) -> tuple[int, int]:
        """See `Broker.leader`."""
        term = self.world.partitions[number].target.term
        return _leader(number, term), term

    def _log(self, number: int, pipe: Pipe) -> tuple[TargetPartition, int]:
        """Return a partition's log, and the term of the leader that a connection leads to; -1 for another broker."""
        target = self.world.partitions[number].target
        return target, target.term if self.leader(number)[0] == pipe.node else -1

    def topic_id(self, topic: str) -> bytes | None:
        """See `Broker.topic_id`."""
        return {TOPIC: TARGET_ID, STATE_TOPIC: STATE_ID}.get(topic)

    def give(self, want: Want, *, spoils: bool) -> Given:
        """See `Broker.give`."""
        del spoils
        target = self.world.partitions[want.partition].target
        end, start = target.high_watermark, target.start
        if not start <= want.offset <= target.log_end:
            return Given(OUT_OF_RANGE, end, end, start)
        found = [each for each in target.log if each.next_offset > want.offset and each.base < end]
        raws = [placed(stored_bytes(each.produced), each.base, target.term) for each in found[:BATCHES_MAX]]
        return Given(0, end, end, start, None, (), b"".join(raws))

    def bounds(self, number: int, timestamp: int) -> int | None:
        """See `Broker.bounds`."""
        target = self.world.partitions[number].target
        return target.start if timestamp in {EARLIEST, EARLIEST_LOCAL} else target.visible_end()

    def epoch_end(self, number: int, epoch: int) -> tuple[int, int]:
        """See `Broker.epoch_end`; of the present epoch that is the leader's own log end."""
        target = self.world.partitions[number].target
        return (epoch, target.log_end) if epoch == target.term and self.world.log_end_shown else (-1, -1)

    def _producers_of(self, number: int) -> list[tuple[int, int, int, int]]:
        target = self.world.partitions[number].target
        return [
            (producer, state.epoch, state.batches[-1][1] if state.batches else -1, state.last_timestamp)
            for producer, state in target.states.items()
        ]

    def _produce(self, pipe: Pipe, answering: Answering) -> None:
        asked = produce_asked(answering.request.body, answering.request.version)

        answers: dict[int, tuple[int, int]] = {}

        def on_answer(number: int, code: int, base: int) -> None:
            """Answer once all partitions are: the slowest of them holds up the others of its request."""
            answers[number] = code, base
            if len(answers) == len(asked.batches):
                answering.give(produce_answer(asked.topic, answers))

        for number, raw in asked.batches.items():
            if asked.topic == STATE_TOPIC:
                on_answer(number, *self._append_state(raw))
            elif asked.topic not in {TOPIC, TARGET_ID}:
                on_answer(number, UNKNOWN_TOPIC, -1)
            else:
                target, term = self._log(number, pipe)
                target.produce(term, produced_from(raw), self.world.now_ms, partial(on_answer, number))

    def _delete(self, pipe: Pipe, request: Any) -> DeleteRecordsResponse:
        (topic,) = request.topics
        rows = []
        for partition in topic.partitions:
            target, term = self._log(int(partition.partition_index), pipe)
            code = target.delete_records(term, int(partition.offset))
            rows.append(
                DeleteRecordsPartitionResult(
                    partition_index=partition.partition_index,
                    low_watermark=i64(target.start),
                    error_code=ErrorCode(code),
                )
            )
        return DeleteRecordsResponse(
            throttle_time=AT_ONCE, topics=(DeleteRecordsTopicResult(name=topic.name, partitions=tuple(rows)),)
        )

    def _append_state(self, raw: bytes) -> tuple[int, int]:
        state, header = self.world.state, produced_header(raw)
        if state.is_down:
            return STATE_UNREACHABLE, -1
        if header.is_transactional and not self.world.coordinator.may_write(
            header.producer_id, header.producer_epoch, (STATE_TOPIC, 0)
        ):
            return 47, -1
        return 0, state.append(raw)

    def _markers(self, pipe: Pipe, answering: Answering) -> None:
        request, _ = entity_reader(WriteTxnMarkersRequest)(answering.request.body, 0)
        first = request.markers[0]
        lengths = Counter(int(number) for each in request.markers for number in each.topics[0].partition_indexes)
        codes: dict[int, int] = {}

        def on_answer(number: int, code: int, _base: int) -> None:
            codes[number] = code
            if len(codes) < len(lengths):
                return
            rows = tuple(
                WritableTxnMarkerPartitionResult(partition_index=i32(number), error_code=ErrorCode(code))
                for number, code in codes.items()
            )
            topic = WritableTxnMarkerTopicResult(name=first.topics[0].name, partitions=rows)
            answer = WriteTxnMarkersResponse(
                markers=(WritableTxnMarkerResult(producer_id=first.producer_id, topics=(topic,)),)
            )
            encoded = io.BytesIO(b"\x00")
            encoded.seek(1)
            entity_writer(WriteTxnMarkersResponse)(encoded, answer)
            answering.give(encoded.getvalue())

        epoch, producer_id, now_ms = int(first.producer_epoch), int(first.producer_id), self.world.now_ms
        for number, length in lengths.items():
            if self.world.markers_denied:
                on_answer(number, CLUSTER_AUTHORIZATION_FAILED, -1)
            else:
                target, term = self._log(number, pipe)
                target.fill(term, epoch, length, now_ms, partial(on_answer, number), producer_id)


def produced_header(raw: bytes) -> Any:
    """Return a batch's header."""
    return scan(raw, 0, len(raw))[0]
