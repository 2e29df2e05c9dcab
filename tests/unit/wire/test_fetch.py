"""Fetch by hand against kio's schemas, and against garbage."""

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
from replicator.model.spec import Isolation
from replicator.wire.messages.data.fetch import FetchSession, Wanted

VERSIONS = (12, 13)
IDS = {"a": b"\x0a" * 16, "b": b"\x0b" * 16}
ANSWER_HEAD = b"\x00\x00\x00\x07\x00"
A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)
versions = pytest.mark.parametrize("version", VERSIONS)


def schema(version: int, side: str) -> Any:
    """Return kio's module of one version."""
    return importlib.import_module(f"kio.schema.fetch.v{version}.{side}")


def topic(version: int, name: str) -> dict[str, object]:
    """Return how a topic is named in that version."""
    return {"topic_id": uuid.UUID(bytes=IDS[name])} if version > 12 else {"topic": name}


def asked(session: FetchSession, version: int, wanted: dict[TopicPartition, Wanted]) -> Any:
    """Return a request as kio understands it; all of its bytes."""
    body = session.request(wanted, wait_ms=500, bytes_min=1, bytes_max=1000)
    entity, size = entity_reader(schema(version, "request").FetchRequest)(body, 0)
    assert size == len(body)
    return entity


def partition(version: int, index: int, records: bytes | None = None, **more: Any) -> Any:
    """Return a partition of an answer."""
    module = schema(version, "response")
    known = {
        "partition_index": i32(index),
        "error_code": ErrorCode.none,
        "high_watermark": i64(90),
        "last_stable_offset": i64(80),
        "log_start_offset": i64(10),
        "aborted_transactions": (),
        "records": records,
    }
    return module.PartitionData(**(known | more))


def answered(
    version: int, topics: dict[str, list[Any]], session_id: int = 0, error: ErrorCode = ErrorCode.none
) -> bytes:
    """Return an answer frame, encoded by kio."""
    module = schema(version, "response")
    entity = module.FetchResponse(
        throttle_time=i32Timedelta.parse(dt.timedelta(0)),
        error_code=error,
        session_id=i32(session_id),
        responses=tuple(
            module.FetchableTopicResponse(**topic(version, name), partitions=tuple(partitions))
            for name, partitions in topics.items()
        ),
    )
    body = io.BytesIO()
    entity_writer(type(entity))(body, entity)
    return ANSWER_HEAD + body.getvalue()


def session_of(version: int) -> FetchSession:
    """Return a session that has asked for everything once."""
    session = FetchSession(version, Isolation.READ_COMMITTED, IDS)
    asked(session, version, {A0: Wanted(5, 1, 2, 100), B0: Wanted(6, 1, 2, 100)})
    return session


def read(session: FetchSession, frame: bytes, behind: int = 0) -> Any:
    """Decode a frame; `behind` bytes of an earlier answer may follow in the buffer."""
    return session.answer(bytearray(frame + b"\x01" * behind), len(frame))


def test_a_session_that_knows_a_topic_by_another_id_is_outdated_and_forgets_by_the_id_it_told() -> None:
    """The broker would go on telling of the topic that stood under the name before."""
    ids = dict(IDS)
    session = FetchSession(13, Isolation.READ_COMMITTED, ids)
    asked(session, 13, {A0: Wanted(5, 1, 2, 100), B0: Wanted(6, 1, 2, 100)})
    read(session, answered(13, {}, session_id=9))
    ids["a"] = b"\x0c" * 16
    assert (session.is_outdated(["a"]), session.is_outdated(["b"]), session.is_outdated(["new"])) == (
        True,
        False,
        False,
    )

    entity = asked(session, 13, {B0: Wanted(6, 1, 2, 100)})
    assert [each.topic_id.bytes for each in entity.forgotten_topics_data] == [IDS["a"]]
    session.reset()
    assert not session.is_outdated(["a", "b"])


@versions
def test_a_request_is_what_kio_reads(version: int) -> None:
    """Every field, in both versions."""
    session = FetchSession(version, Isolation.READ_COMMITTED, IDS)
    entity = asked(session, version, {A0: Wanted(5, 3, 2, 100), A1: Wanted(7, 3, -1, 200), B0: Wanted(9, 4, 4, 300)})

    assert (entity.replica_id, entity.max_wait.total_seconds(), entity.min_bytes) == (-1, 0.5, 1)
    assert (entity.max_bytes, entity.isolation_level, entity.rack_id) == (1000, 1, "")
    assert (entity.session_id, entity.session_epoch, entity.forgotten_topics_data) == (0, 0, ())
    names = [each.topic_id.bytes if version > 12 else each.topic for each in entity.topics]
    assert names == ([IDS["a"], IDS["b"]] if version > 12 else ["a", "b"])
    first = entity.topics[0].partitions[0]
    assert (first.partition, first.fetch_offset, first.current_leader_epoch) == (0, 5, 3)
    assert (first.last_fetched_epoch, first.log_start_offset, first.partition_max_bytes) == (2, -1, 100)
    assert [each.partition for each in entity.topics[0].partitions] == [0, 1]


@versions
def test_an_answer_of_kio_is_read(version: int) -> None:
    """Offsets, errors, record sets where they lie, aborted lists, divergence; other tags are skipped."""
    module = schema(version, "response")
    aborted = tuple(
        module.AbortedTransaction(producer_id=i64(pid), first_offset=i64(first)) for pid, first in ((7, 1), (8, 2))
    )
    partitions = [
        partition(version, 0, b"R" * 300, aborted_transactions=aborted),
        partition(version, 1, None, error_code=ErrorCode.offset_out_of_range, aborted_transactions=None),
        partition(
            version,
            2,
            b"",
            diverging_epoch=module.EpochEndOffset(epoch=i32(4), end_offset=i64(44)),
            current_leader=module.LeaderIdAndEpoch(leader_id=i32(3), leader_epoch=i32(9)),
        ),
    ]
    frame = answered(version, {"a": partitions, "b": [partition(version, 0, b"S")]})
    code, found = read(session_of(version), frame, behind=100)

    assert code == 0
    assert [each.where for each in found] == [A0, A1, TopicPartition("a", 2), B0]
    assert (found[0].high_watermark, found[0].last_stable_offset, found[0].log_start) == (90, 80, 10)
    assert frame[found[0].start : found[0].end] == b"R" * 300
    assert (found[0].aborted, found[0].diverging) == ([(7, 1), (8, 2)], None)
    assert (found[1].error, found[1].start, found[1].aborted) == (1, found[1].end, None)
    assert found[2].diverging == (4, 44)
    assert frame[found[3].start : found[3].end] == b"S"


@versions
def test_a_session_names_only_what_changed(version: int) -> None:
    """Moved partitions, forgotten ones; and the epoch rises with each request."""
    session = session_of(version)
    read(session, answered(version, {}, session_id=77))
    entity = asked(session, version, {A0: Wanted(5, 1, 2, 100), A1: Wanted(1, 1, 2, 100)})
    forgotten = entity.forgotten_topics_data[0]

    assert (entity.session_id, entity.session_epoch) == (77, 1)
    assert [[each.partition for each in named.partitions] for named in entity.topics] == [[1]]
    assert (forgotten.topic_id.bytes if version > 12 else forgotten.topic) == (IDS["b"] if version > 12 else "b")
    assert list(forgotten.partitions) == [0]
    read(session, answered(version, {}, session_id=77))
    entity = asked(session, version, {A0: Wanted(5, 1, 2, 100), A1: Wanted(1, 1, 2, 100)})
    assert (entity.session_epoch, entity.topics, entity.forgotten_topics_data) == (2, (), ())


@versions
def test_a_session_that_is_reset_names_everything_anew(version: int) -> None:
    """After an error or on a new connection."""
    session = session_of(version)
    read(session, answered(version, {}, session_id=77))
    session.reset()
    entity = asked(session, version, {A0: Wanted(5, 1, 2, 100), B0: Wanted(6, 1, 2, 100)})

    assert session.is_new
    assert (entity.session_id, entity.session_epoch, len(entity.topics)) == (0, 0, 2)


@versions
def test_a_broker_without_room_for_a_session_is_asked_in_full(version: int) -> None:
    """It answers with session id 0, again and again."""
    session = session_of(version)
    read(session, answered(version, {}, session_id=0))
    entity = asked(session, version, {A0: Wanted(5, 1, 2, 100), B0: Wanted(6, 1, 2, 100)})

    assert (entity.session_id, entity.session_epoch, len(entity.topics)) == (0, 0, 2)


def test_the_epoch_of_a_session_wraps_to_one() -> None:
    """0 would mean a new session."""
    session = session_of(12)
    read(session, answered(12, {}, session_id=77))
    session._epoch = 0x7FFFFFFF
    read(session, answered(12, {}, session_id=77))

    assert asked(session, 12, {}).session_epoch == 1


@versions
def test_a_single_read_has_no_session(version: int) -> None:
    """Session epoch -1, whatever the broker answers."""
    session = FetchSession(version, Isolation.READ_UNCOMMITTED, IDS, sessionless=True)
    for _ in range(2):
        entity = asked(session, version, {A0: Wanted(5, -1, -1, 100)})
        assert (entity.session_id, entity.session_epoch, len(entity.topics)) == (0, -1, 1)
        read(session, answered(version, {}, session_id=5))
        session.reset()


@versions
def test_an_error_of_the_whole_answer_is_told(version: int) -> None:
    """The caller resets and asks again."""
    frame = answered(version, {}, error=ErrorCode.fetch_session_id_not_found)

    assert read(session_of(version), frame) == (70, [])


def test_a_topic_id_that_was_not_asked_for_is_corrupt() -> None:
    """There is no name to give it."""
    session = FetchSession(13, Isolation.READ_COMMITTED, IDS)
    asked(session, 13, {A0: Wanted(5, 1, 2, 100)})
    with pytest.raises(CorruptRecords, match="not asked for"):
        read(session, answered(13, {"b": [partition(13, 0, b"")]}))


def _whole(version: int) -> bytes:
    module = schema(version, "response")
    aborted = (module.AbortedTransaction(producer_id=i64(7), first_offset=i64(1)),)
    return answered(
        version,
        {"a": [partition(version, 0, b"R" * 20, aborted_transactions=aborted)], "b": [partition(version, 0, b"S")]},
        session_id=3,
    )


@versions
def test_every_shortened_answer_is_corrupt(version: int) -> None:
    """Wherever it ends, as long as the buffer ends there too; only the last tag section is never looked at."""
    whole = _whole(version)
    for size in range(len(whole) - 1):
        with pytest.raises(CorruptRecords):
            read(session_of(version), whole[:size])


@versions
@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x08", b"\xff\xff\xff\xff\xff\xff"])
def test_a_huge_count_is_refused_before_anything_is_made_of_it(version: int, length: bytes) -> None:
    """Of topics, and of everything else that is counted or measured."""
    whole = _whole(version)
    for at in range(15, len(whole)):
        frame = whole[:at] + length + whole[at + 1 :]
        try:
            _, found = read(session_of(version), frame)
        except CorruptRecords:
            continue
        assert all(each.end <= len(frame) for each in found)


@given(st.sampled_from(VERSIONS), st.data())
def test_mutated_answers_raise_nothing_else(version: int, data: st.DataObject) -> None:
    """Any bytes at any place: `CorruptRecords`, or an answer whose record sets lie inside the frame."""
    frame = bytearray(_whole(version))
    for _ in range(data.draw(st.integers(1, 6))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    try:
        _, found = read(session_of(version), bytes(frame[:cut]), behind=data.draw(st.sampled_from((0, 500))))
    except CorruptRecords:
        return
    assert all(each.start <= each.end <= cut for each in found)


@given(st.sampled_from(VERSIONS), st.binary(max_size=200))
def test_garbage_raises_nothing_else(version: int, frame: bytes) -> None:
    """Not even a frame's own beginning has to be there."""
    try:
        read(session_of(version), frame)
    except CorruptRecords:
        return
