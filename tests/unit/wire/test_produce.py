"""Produce by hand against kio's schemas, and against garbage."""

from __future__ import annotations

import datetime as dt
import importlib
import io
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32, i32Timedelta, i64

from replicator.errors import CorruptRecords
from replicator.model.names import TopicPartition
from replicator.wire.frames import Frame
from replicator.wire.messages.data.produce import ProduceCodec

VERSIONS = (9, 13)
IDS = {"a": b"\x0a" * 16, "b": b"\x0b" * 16}
ANSWER_HEAD = b"\x00\x00\x00\x07\x00"
versions = pytest.mark.parametrize("version", VERSIONS)


def schema(version: int, side: str) -> Any:
    """Return kio's module of one version."""
    return importlib.import_module(f"kio.schema.produce.v{version}.{side}")


def codec_of(version: int) -> ProduceCodec:
    """Return a codec that has sent to both topics."""
    codec = ProduceCodec(version, IDS, 30_000)
    codec.request({name: {0: (b"", 0)} for name in IDS})
    return codec


def partition(version: int, index: int, error: ErrorCode = ErrorCode.none, **more: Any) -> Any:
    """Return a partition of an answer."""
    known = {
        "index": i32(index),
        "error_code": error,
        "base_offset": i64(500 + index),
        "log_append_time": None,
        "log_start_offset": i64(10),
        "record_errors": (),
        "error_message": None,
    }
    return schema(version, "response").PartitionProduceResponse(**(known | more))


def answered(version: int, topics: dict[str, list[Any]]) -> bytes:
    """Return an answer frame, encoded by kio."""
    module = schema(version, "response")
    entity = module.ProduceResponse(
        responses=tuple(
            module.TopicProduceResponse(
                **({"topic_id": uuid.UUID(bytes=IDS[name])} if version > 12 else {"name": name}),
                partition_responses=tuple(partitions),
            )
            for name, partitions in topics.items()
        ),
        throttle_time=i32Timedelta.parse(dt.timedelta(0)),
    )
    body = io.BytesIO()
    entity_writer(type(entity))(body, entity)
    return ANSWER_HEAD + body.getvalue()


def read(codec: ProduceCodec, frame: bytes, behind: int = 0) -> Any:
    """Decode a frame; `behind` bytes of an earlier answer may follow in the buffer."""
    return codec.answer(bytearray(frame + b"\x01" * behind), len(frame))


@versions
@pytest.mark.parametrize("transactional_id", [None, "replicator.x.state"])
def test_a_request_is_what_kio_reads(version: int, transactional_id: str | None) -> None:
    """Every field; the batches are passed on as they are, not copied."""
    first, second = memoryview(bytearray(b"x" * 200)), bytearray(b"y")
    codec = ProduceCodec(version, IDS, 30_000)
    views, size = codec.request({"a": {0: (first, 200), 3: (second, 1)}, "b": {1: (b"z", 1)}}, transactional_id)
    body = b"".join(views)
    entity, read_bytes = entity_reader(schema(version, "request").ProduceRequest)(body, 0)

    assert size == len(body) == read_bytes
    assert any(view is first for view in views)
    assert (entity.transactional_id, entity.acks, entity.timeout.total_seconds()) == (transactional_id, -1, 30.0)
    names = [each.topic_id.bytes if version > 12 else each.name for each in entity.topic_data]
    assert names == ([IDS["a"], IDS["b"]] if version > 12 else ["a", "b"])
    sent = [[(each.index, bytes(each.records)) for each in named.partition_data] for named in entity.topic_data]
    assert sent == [[(0, b"x" * 200), (3, b"y")], [(1, b"z")]]


@versions
def test_an_answer_of_kio_is_read(version: int) -> None:
    """Accepted and refused, with and without words."""
    module = schema(version, "response")
    errors = (
        module.BatchIndexAndErrorMessage(batch_index=i32(0), batch_index_error_message=None),
        module.BatchIndexAndErrorMessage(batch_index=i32(4), batch_index_error_message="no key"),
    )
    frame = answered(
        version,
        {
            "a": [
                partition(version, 0),
                partition(version, 1, ErrorCode.invalid_record, error_message="bad", record_errors=errors),
                partition(version, 2, ErrorCode.out_of_order_sequence_number, error_message="gap"),
                partition(version, 3, ErrorCode.invalid_record, record_errors=errors),
            ],
            "b": [partition(version, 0)],
        },
    )
    found = read(codec_of(version), frame, behind=50)

    assert [each.where for each in found] == [*(TopicPartition("a", at) for at in range(4)), TopicPartition("b", 0)]
    assert [each.error for each in found] == [0, 87, 45, 87, 0]
    assert [each.base_offset for each in found] == [500, 501, 502, 503, 500]
    assert [each.message for each in found] == ["", "bad (no key)", "gap", "no key", ""]
    assert {each.log_start for each in found} == {10}


def framed(raw: bytes) -> Frame:
    """Return a frame that holds these bytes."""
    frame = Frame(len(raw))
    frame.view[:] = raw
    frame.size = len(raw)
    return frame


@versions
def test_an_answer_without_refusals_is_read_by_the_short_way(version: int) -> None:
    """It says the same as the long one."""
    raw = answered(version, {"a": [partition(version, at) for at in (0, 1, 7)], "b": [partition(version, 4)]})
    found = codec_of(version).accepted(framed(raw))

    assert found is not None
    rows = [(topic, row[0], row[2]) for topic, rows in found.items() for row in rows]
    assert rows == [(*each.where, each.base_offset) for each in read(codec_of(version), raw)]
    assert len(rows) == 4


@versions
def test_anything_odd_in_an_answer_is_left_to_the_long_way(version: int) -> None:
    """A refusal, words behind an acceptance, an answer cut anywhere."""
    refused = partition(version, 1, ErrorCode.not_leader_or_follower)
    worded = partition(version, 1, error_message="slow")
    for odd in (refused, worded):
        raw = answered(version, {"a": [partition(version, 0), odd, partition(version, 2)]})
        assert codec_of(version).accepted(framed(raw)) is None
    whole = answered(version, {"a": [partition(version, at) for at in range(3)]})
    name = IDS["a"] if version > 12 else b"a"
    count_at = whole.index(name) + len(name)
    without = bytes((*whole[:count_at], 0, *whole[count_at + 1 :]))  # an array that is null: of minus one partition
    assert codec_of(version).accepted(framed(without)) is None
    ends_in_time_and_tags = 5
    for cut in range(5, len(whole) - ends_in_time_and_tags):
        assert codec_of(version).accepted(framed(whole[:cut])) is None


def test_a_leader_hint_behind_a_refusal_is_skipped() -> None:
    """Tagged, from v10 on."""
    module = schema(13, "response")
    hint = module.LeaderIdAndEpoch(leader_id=i32(3), leader_epoch=i32(9))
    frame = answered(
        13, {"a": [partition(13, 0, ErrorCode.not_leader_or_follower, current_leader=hint), partition(13, 1)]}
    )

    assert [each.error for each in read(codec_of(13), frame)] == [6, 0]


def test_a_topic_id_that_was_not_sent_to_is_corrupt() -> None:
    """There is no name to give it."""
    with pytest.raises(CorruptRecords, match="not asked for"):
        read(ProduceCodec(13, IDS, 1), answered(13, {"a": [partition(13, 0)]}))


def _whole(version: int) -> bytes:
    module = schema(version, "response")
    errors = (module.BatchIndexAndErrorMessage(batch_index=i32(4), batch_index_error_message="no key"),)
    refused = partition(version, 1, ErrorCode.invalid_record, error_message="bad", record_errors=errors)
    return answered(version, {"a": [partition(version, 0), refused], "b": [partition(version, 0)]})


@versions
def test_every_shortened_answer_is_corrupt(version: int) -> None:
    """Up to the last partition; the throttle time behind it is not read."""
    whole = _whole(version)
    for size in range(len(whole) - 6):
        with pytest.raises(CorruptRecords):
            read(codec_of(version), whole[:size])


@given(st.sampled_from(VERSIONS), st.data())
def test_mutated_answers_raise_nothing_else(version: int, data: st.DataObject) -> None:
    """Any bytes at any place, and huge counts among them."""
    frame = bytearray(_whole(version))
    for _ in range(data.draw(st.integers(1, 6))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.sampled_from((0, 1, 127, 128, 255)))
    cut = data.draw(st.integers(0, len(frame)))
    try:
        found = read(codec_of(version), bytes(frame[:cut]), behind=data.draw(st.sampled_from((0, 500))))
    except CorruptRecords:
        return
    assert len(found) <= cut


@given(st.sampled_from(VERSIONS), st.binary(max_size=200))
def test_garbage_raises_nothing_else(version: int, frame: bytes) -> None:
    """Not even a frame's own beginning has to be there."""
    try:
        read(codec_of(version), frame)
    except CorruptRecords:
        return
