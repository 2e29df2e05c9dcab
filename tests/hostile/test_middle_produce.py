"""Produce answers of a real target that were changed on their way: no record is doubled, none is left out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.produce.v13.request import ProduceRequest
from kio.schema.produce.v13.response import PartitionProduceResponse, ProduceResponse, TopicProduceResponse
from kio.serial import entity_reader
from kio.static.primitive import i32Timedelta, i64

from tests.hostile.middle import (
    PRODUCE,
    Change,
    Lying,
    Middle,
    Watched,
    changed,
    encoded,
    framed,
    lying,
    of_partitions,
    rounds,
    topic_id,
)
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, wait_until
from tests.integration.load import produce
from tests.integration.proxy import Action, pass_all

pytestmark = pytest.mark.kafka

HUGE = 2**63 - 1
_BODY_AT = 4 + 2 + 2 + 4 + 2 + len(b"replicator") + 1
"""Behind the length, and the header of a request of ours."""
_NO_TIME = dt.timedelta(0)


def landed(of: Callable[[int], int]) -> Change:
    """Return the lie about where a batch landed, if it was accepted."""
    return lambda told: told if told.error_code else replace(told, base_offset=i64(of(int(told.base_offset))))


def refused(code: ErrorCode) -> Change:
    """Return the lie that a batch was refused, which stands in the log."""
    return lambda told: replace(told, error_code=code, base_offset=i64(-1))


LIES: dict[str, Change] = {
    "one offset further on": landed(lambda at: at + 1),
    "one offset before": landed(lambda at: at - 1),
    "at the beginning": landed(lambda _: 0),
    "nowhere": landed(lambda _: -1),
    "as far as it goes": landed(lambda _: HUGE),
    "a log that starts behind it": lambda told: replace(told, log_start_offset=i64(HUGE)),
    "a negative start": lambda told: replace(told, log_start_offset=i64(-9)),
} | {
    f"refused though it stands: {code.name}": refused(code)
    for code in (
        ErrorCode.not_leader_or_follower,
        ErrorCode.request_timed_out,
        ErrorCode.unknown_server_error,
        ErrorCode.unknown_topic_or_partition,
        ErrorCode.message_too_large,
        ErrorCode.invalid_record,
        ErrorCode.corrupt_message,
        ErrorCode.out_of_order_sequence_number,
        ErrorCode.duplicate_sequence_number,
        ErrorCode.invalid_producer_epoch,
        ErrorCode.unknown_producer_id,
        ErrorCode.topic_authorization_failed,
        ErrorCode.not_enough_replicas_after_append,
        ErrorCode.kafka_storage_error,
    )
}


def test_lies_about_what_was_written_double_nothing(
    middle: Middle, east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """A partition for each lie, and one of which the truth is told."""
    names = list(LIES)
    honest, count = len(names), len(names) + 1
    create(east, topic_name, count)
    watched = Watched(lab, (east, middle), (east, west), topic_name, replication_factor=1)
    watched.start()
    rounds(east, topic_name, count, 0)
    assert_equal(east, middle.cluster, topic_name)
    changes = {number: LIES[name] for number, name in enumerate(names)}
    liar = lying(PRODUCE, of_partitions(topic_id(middle.cluster, topic_name), changes))
    watched.begin(liar)
    middle.proxy.spoil = liar
    for number in range(1, 6):
        rounds(east, topic_name, count, number)
        wait_until("the honest one goes on", lambda: watched.is_copied(honest))
    watched.goes_on_beside()
    watched.is_bounded(liar)
    watched.judged()
    for at, name in enumerate(names):
        # Waited for: one that just begins again says nothing for as long as that takes.
        wait_until(f"{name}: it is copied, or says why not", lambda at=at: is_told(watched, at))  # type: ignore[misc]

    middle.honest()

    def unfinished() -> dict[str, str]:
        there = watched.daemon.mirror(topic_name)["partitions"]
        open_ = [at for at in range(count) if there[at]["state"] != "FAULTED" and not watched.is_copied(at)]
        return {[*names, "honest"][at]: f"{there[at]['reason']}: {there[at]['detail']}" for at in open_}

    try:
        wait_until("what was not stopped is complete", lambda: not unfinished(), 90)
    except AssertionError as error:
        raise AssertionError(f"{error}: {unfinished()}") from None
    missing = watched.judged()
    there = watched.daemon.mirror(topic_name)["partitions"]
    assert all(there[at]["state"] == "FAULTED" for at, number in missing.items() if number)


def is_told(watched: Watched, number: int) -> bool:
    """Return whether a partition is copied, or says why it is not."""
    return watched.is_copied(number) or bool(watched.partition(number)["detail"])


def of_another_topic(told: Any) -> Any:
    """Return an answer about topics that nobody asked for: by id, or by name as on the state topic."""
    topics = (
        replace(one, topic_id=None) if hasattr(one, "topic_id") else replace(one, name="another")
        for one in told.responses
    )
    return replace(told, responses=tuple(topics))


FRAMES: dict[str, Callable[[int, bytes], bytes]] = {
    "answers twice": lambda _, frame: frame * 2,
    "an answer cut in half": lambda _, frame: framed(frame[4 : 4 + (len(frame) - 4) // 2]),
    "an answer about nothing": lambda version, frame: changed(
        PRODUCE, version, frame, lambda told: replace(told, responses=())
    ),
    "another topic": lambda version, frame: changed(PRODUCE, version, frame, of_another_topic),
    "an answer without an end": lambda _, frame: b"\x7f\xff\xff\xff" + frame[4:],
}


@pytest.mark.long
@pytest.mark.parametrize("name", FRAMES)
def test_what_is_no_answer_leaves_a_doubt_and_no_more(
    middle: Middle, east: Kafka, west: Kafka, topic_name: str, lab: Lab, name: str
) -> None:
    """Whether a batch stands is looked up; each record stands there once."""
    change = FRAMES[name]
    create(east, topic_name, 2)
    watched = Watched(lab, (east, middle), (east, west), topic_name, replication_factor=1)
    watched.start()
    rounds(east, topic_name, 2, 0)
    assert_equal(east, middle.cluster, topic_name)
    liar = Lying({PRODUCE: change})
    watched.begin(liar)
    middle.proxy.spoil = liar
    for number in range(1, 4):
        rounds(east, topic_name, 2, number)
        watched.goes_on_beside()
    wait_until("somebody was lied to", lambda: liar.told[PRODUCE] > 2)
    watched.is_bounded(liar)
    watched.judged()

    middle.honest()
    assert_equal(east, middle.cluster, topic_name)
    assert watched.daemon.mirror(topic_name)["state"] == "ACTIVE"


def accepted_at(offset: int) -> Callable[[bytes], bytes]:
    """Return what answers a request of one batch without asking the broker: it was written, and there."""

    def invent(frame: bytes) -> bytes:
        request, _ = entity_reader(ProduceRequest)(frame, _BODY_AT)
        (topic,) = request.topic_data
        (partition,) = topic.partition_data
        told = PartitionProduceResponse(
            index=partition.index,
            error_code=ErrorCode.none,
            base_offset=i64(offset),
            log_start_offset=i64(0),
            record_errors=(),
        )
        answer = ProduceResponse(
            responses=(TopicProduceResponse(topic_id=topic.topic_id, partition_responses=(told,)),),
            throttle_time=i32Timedelta.parse(_NO_TIME),
        )
        return framed(frame[8:12] + b"\x00" + encoded(answer))

    return invent


@pytest.mark.long
@pytest.mark.parametrize("more", [True, False], ids=["records follow", "nothing follows"])
def test_what_was_not_written_is_found_missing(
    middle: Middle, east: Kafka, west: Kafka, topic_name: str, lab: Lab, *, more: bool
) -> None:
    """A success that never was: the next batch does not fit, and an attach finds where the log really ends."""
    create(east, topic_name)
    watched = Watched(lab, (east, middle), (east, west), topic_name, replication_factor=1)
    watched.start()
    rounds(east, topic_name, 1, 0)
    assert_equal(east, middle.cluster, topic_name)
    swallowed: list[bytes] = []

    def plan(api: int, frame: bytes) -> Action:
        if api == PRODUCE and b"swallowed" in frame:
            swallowed.append(frame)
            return Action.INVENT
        return Action.PASS

    middle.proxy.invent = accepted_at(2)
    middle.proxy.plan = plan
    produce(east, topic_name, [{"value": b"swallowed"}])
    wait_until("it was swallowed", lambda: len(swallowed) == 1)
    middle.proxy.plan = pass_all
    watched.goes_on_beside()
    watched.judged()
    if more:
        rounds(east, topic_name, 1, 1)
    else:
        watched.again()

    assert_equal(east, middle.cluster, topic_name)
    assert watched.daemon.mirror(topic_name)["state"] == "ACTIVE"
