"""Fetch answers of a real broker that were changed on their way: nothing is copied wrongly, and the rest goes on."""

from __future__ import annotations

import hashlib
import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from kio.schema.errors import ErrorCode
from kio.static.primitive import Records, i32, i64

from tests.hostile.middle import (
    FETCH,
    Change,
    Field,
    Lying,
    Middle,
    Watched,
    batches,
    changed,
    framed,
    lying,
    of_partitions,
    rounds,
    topic_id,
    with_checksum,
)
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, wait_until

pytestmark = pytest.mark.kafka

HUGE = 2**63 - 1
STOPS = frozenset({"corrupt_batch", "source_truncated", "waiting_for_broker"})
"""Reasons for which a partition stops, or waits, over what it was told."""


def one_batch(change: Callable[[bytes], bytes], at: int = 0) -> Change:
    """Return the lie about one batch of each answer."""

    def lie(told: Any) -> Any:
        found = list(batches(bytes(told.records or b"")))
        if not found:
            return told
        number = min(at, len(found) - 1)
        found[number] = change(found[number])
        return replace(told, records=Records.parse(b"".join(found)))

    return lie


def all_records(change: Callable[[bytes], bytes]) -> Change:
    """Return the lie about the record set of each answer."""

    def lie(told: Any) -> Any:
        raw = bytes(told.records or b"")
        return replace(told, records=Records.parse(change(raw))) if raw else told

    return lie


def numbers(**changes: Callable[[int], int]) -> Change:
    """Return the lie about numbers that an answer tells of a partition."""
    return lambda told: replace(told, **{name: i64(of(int(getattr(told, name)))) for name, of in changes.items()})


def end(of: Callable[[int], int]) -> Change:
    """Return the lie about where the log ends."""
    return numbers(high_watermark=of, last_stable_offset=of)


def bit(at: int) -> Callable[[bytes], bytes]:
    """Return what flips a bit of one byte."""

    def flip(raw: bytes) -> bytes:
        out = bytearray(raw)
        out[at] ^= 1
        return bytes(out)

    return flip


def swapped(raw: bytes) -> bytes:
    """Swap the first two batches; a single one is given a base offset that is too low."""
    found = list(batches(raw))
    if len(found) > 1:
        return b"".join([found[1], found[0], *found[2:]])
    return Field("base_offset", lambda value: value - 1)(raw)


def of_another(raw: bytes) -> bytes:
    """Return a batch of another partition in place of each."""
    strange = (
        struct.pack(">qiibIhiqqqhii", 0, 0, 0, 2, 0, 0, 1, 0, 0, -1, -1, -1, 2)
        + b"\x14\x00\x00\x00\x01\x08evil\x00" * 2
    )
    strange = strange[:8] + struct.pack(">i", len(strange) - 12) + strange[12:]
    del raw
    return with_checksum(strange)


def noise(raw: bytes) -> bytes:
    """Return bytes that mean nothing."""
    return hashlib.shake_256(raw).digest(len(raw))


def both(change: Callable[[int], int]) -> Callable[[bytes], bytes]:
    """Return what changes how many records a batch has, in both places."""
    delta, count = Field("last_offset_delta", change), Field("count", change, summed=True)
    return lambda raw: count(delta(raw))


def error(code: ErrorCode) -> Change:
    """Return the lie that a partition cannot be read."""
    return lambda told: replace(told, error_code=code, records=None)


class Lie(NamedTuple):
    """What is told of one partition, and what comes of it as long as it is told.

    Attributes:
        change: What is told instead.
        stops: Whether the partition stops, or waits, with a reason; else it is copied all the same.
        plausible: Whether nobody could tell: the target gets what the broker said.
    """

    change: Change
    stops: bool = True
    plausible: bool = False


LIES = {
    "a base offset one too high": Lie(one_batch(Field("base_offset", lambda value: value + 1))),
    "a base offset one too low": Lie(one_batch(Field("base_offset", lambda value: value - 1))),
    "the highest base offset there is": Lie(one_batch(Field("base_offset", lambda _: HUGE))),
    "a negative base offset": Lie(one_batch(Field("base_offset", lambda _: -5))),
    "the last base offset one too high": Lie(one_batch(Field("base_offset", lambda value: value + 1), 99)),
    "an end that is too high": Lie(end(lambda value: value + 50), stops=False),
    "the highest end there is": Lie(end(lambda _: HUGE), stops=False),
    "an end that is too low": Lie(end(lambda _: 1)),
    "a negative end": Lie(end(lambda _: -1)),
    "a start behind the end": Lie(numbers(log_start_offset=lambda value: value + 10_000), stops=False),
    "a negative start": Lie(numbers(log_start_offset=lambda _: -7), stops=False),
    "a leader epoch that is to come": Lie(one_batch(Field("leader_epoch", lambda value: value + 7))),
    "a negative leader epoch": Lie(one_batch(Field("leader_epoch", lambda _: -9)), stops=False),
    "a checksum that is wrong": Lie(one_batch(bit(18))),
    "a bit of the records": Lie(one_batch(bit(-3))),
    "half of the records": Lie(all_records(lambda raw: raw[: len(raw) // 2])),
    "half of a header": Lie(all_records(lambda raw: raw[:40])),
    "the records twice": Lie(all_records(lambda raw: raw + raw)),
    "batches that changed places": Lie(all_records(swapped)),
    "a batch of another partition": Lie(all_records(of_another)),
    "another codec, with a right checksum": Lie(one_batch(Field("attributes", lambda value: value ^ 2, summed=True))),
    "a codec that is none": Lie(one_batch(Field("attributes", lambda value: value | 7, summed=True))),
    "bits that mean nothing": Lie(
        one_batch(Field("attributes", lambda value: value | 0x200, summed=True)), stops=False
    ),
    "a marker that is none": Lie(one_batch(Field("attributes", lambda value: value | 0x20, summed=True))),
    "a transaction that is none": Lie(
        one_batch(Field("attributes", lambda value: value | 0x10, summed=True)), stops=False
    ),
    "times of the broker": Lie(
        one_batch(Field("attributes", lambda value: value | 8, summed=True)), stops=False, plausible=True
    ),
    "one record more": Lie(one_batch(Field("count", lambda value: value + 1, summed=True))),
    "one offset more": Lie(one_batch(Field("last_offset_delta", lambda value: value + 1, summed=True))),
    "one of both more": Lie(one_batch(both(lambda value: value + 1))),
    "as many records as a number holds": Lie(one_batch(both(lambda _: 2**31 - 2))),
    "a batch that ends before it begins": Lie(one_batch(Field("last_offset_delta", lambda _: -2, summed=True))),
    "an old format": Lie(one_batch(Field("magic", lambda _: 1))),
    "a format that is to come": Lie(one_batch(Field("magic", lambda _: 9))),
    "the longest batch there is": Lie(one_batch(Field("length", lambda _: 2**31 - 1))),
    "a negative length": Lie(one_batch(Field("length", lambda _: -3))),
    "noise": Lie(all_records(noise)),
    "out of range": Lie(error(ErrorCode.offset_out_of_range), stops=False),
    "no such partition": Lie(error(ErrorCode.unknown_topic_or_partition), stops=False),
    "not the leader": Lie(error(ErrorCode.not_leader_or_follower), stops=False),
    "no right": Lie(error(ErrorCode.topic_authorization_failed), stops=False),
    "a failing disk": Lie(error(ErrorCode.kafka_storage_error), stops=False),
}
HOLD_UP = frozenset(
    {"a start behind the end", "out of range", "no such partition", "not the leader", "no right", "a failing disk"}
)
"""While one of these is told nothing is copied, for a reason that is shown; it goes on by itself afterwards."""


@pytest.mark.long
def test_lies_about_partitions_touch_no_other_and_copy_nothing_wrongly(
    middle: Middle, east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """A partition for each lie, told for as long as it takes, and one of which the truth is told."""
    names = list(LIES)
    honest, count = len(names), len(names) + 1
    create(middle.cluster, topic_name, count)
    watched = Watched(lab, (middle, west), (east, west), topic_name)
    watched.start()
    rounds(middle.cluster, topic_name, count, 0)
    assert_equal(middle.cluster, west, topic_name)
    changes = {number: LIES[name].change for number, name in enumerate(names)}
    liar = lying(FETCH, of_partitions(topic_id(middle.cluster, topic_name), changes))
    watched.begin(liar)
    middle.proxy.spoil = liar
    number = 0

    def unmoved() -> list[str]:
        there = watched.daemon.mirror(topic_name)["partitions"]
        return [names[at] for at in range(honest) if LIES[names[at]].stops and there[at]["reason"] not in STOPS]

    def all_tell() -> bool:
        nonlocal number
        number += 1
        rounds(middle.cluster, topic_name, count, number)
        wait_until("the honest one goes on", lambda: watched.is_copied(honest))
        return not unmoved() and number > 4

    try:
        wait_until("whatever is lied about has a reason", all_tell, 90, every=0.5)
    except AssertionError as missing:
        raise AssertionError(f"{missing}: {unmoved()}") from None
    for at, name in enumerate(names):
        if not LIES[name].stops and name not in HOLD_UP:
            wait_until(f"{name}: it is copied all the same", lambda at=at: watched.is_copied(at))  # type: ignore[misc]
    for at in (names.index(name) for name in HOLD_UP):
        wait_until("what is held up says why", lambda at=at: watched.partition(at)["detail"])  # type: ignore[misc]
    watched.goes_on_beside()
    watched.is_bounded(liar)
    plausible = frozenset(at for at, name in enumerate(names) if LIES[name].plausible)
    watched.judged(but=plausible)
    assert "nothing is filled" in watched.daemon.log_file.read_text()
    faulted = {
        at for at, told in enumerate(watched.daemon.mirror(topic_name)["partitions"]) if told["state"] == "FAULTED"
    }
    for at in faulted:
        assert watched.partition(at)["detail"]

    middle.honest()
    for at in set(range(count)) - faulted:
        wait_until("what was not stopped goes on", lambda at=at: watched.is_copied(at))  # type: ignore[misc]
    missing_of = watched.judged(but=plausible)
    assert {at for at, missing in missing_of.items() if missing} <= faulted


FRAMES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "answers twice": (lambda frame: frame * 2, "came without a request|was due"),
    "the answer to another request": (
        lambda frame: frame[:4] + struct.pack(">i", struct.unpack_from(">i", frame, 4)[0] + 7) + frame[8:],
        "was due",
    ),
    "an answer cut in half": (
        lambda frame: framed(frame[4 : 4 + (len(frame) - 4) // 2]),
        "ends too early|bytes are left",
    ),
    "an answer without an end": (lambda frame: struct.pack(">i", 2**31 - 1) + frame[4:], "claims 2147483647 bytes"),
    "another protocol": (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "claims 1213486160 bytes"),
    "a topic that was not asked for": (
        lambda frame: changed(
            FETCH,
            13,
            frame,
            lambda told: replace(
                told, responses=tuple(replace(one, topic_id=uuid.UUID(int=5)) for one in told.responses)
            ),
        ),
        "a topic id that was not asked for",
    ),
    "a session that is another": (
        lambda frame: changed(FETCH, 13, frame, lambda told: replace(told, session_id=i32(12345))),
        "",
    ),
    "a session that is unknown": (
        lambda frame: changed(
            FETCH, 13, frame, lambda told: replace(told, error_code=ErrorCode.fetch_session_id_not_found, responses=())
        ),
        "",
    ),
    "a broker that fails": (
        lambda frame: changed(
            FETCH, 13, frame, lambda told: replace(told, error_code=ErrorCode.unknown_server_error, responses=())
        ),
        "UNKNOWN_SERVER_ERROR",
    ),
}


STOP_FOR_GOOD = frozenset({"an answer without an end"})
"""An answer that is too large, also where one partition alone is asked for: it stops (`batch_too_large`)."""


@pytest.mark.long
@pytest.mark.parametrize("name", FRAMES)
def test_what_is_no_answer_holds_up_its_broker_alone(
    middle: Middle, east: Kafka, west: Kafka, topic_name: str, lab: Lab, name: str
) -> None:
    """Connections are made anew, ever more slowly; what was told is in the log; afterwards the copy is complete."""
    change, says = FRAMES[name]
    create(middle.cluster, topic_name, 2)
    watched = Watched(lab, (middle, west), (east, west), topic_name)
    watched.start()
    liar = Lying({FETCH: lambda _, frame: change(frame)})
    watched.begin(liar)
    middle.proxy.spoil = liar
    for number in range(3):
        rounds(middle.cluster, topic_name, 2, number)
        watched.goes_on_beside()
    stops = name in STOP_FOR_GOOD
    wait_until("somebody was lied to", lambda: liar.told[FETCH] > (2 if stops else 5))
    wait_until("the log says so", lambda: re.search(says, watched.daemon.log_file.read_text()))
    watched.is_bounded(liar)
    watched.judged()

    middle.honest()
    for at in (0, 1):
        wait_until(
            "the copy goes on, or has stopped by name",
            lambda at=at: watched.is_copied(at) or (stops and watched.partition(at)["state"] == "FAULTED"),  # type: ignore[misc]
        )
    assert stops or not any(watched.judged().values())
    assert stops or watched.daemon.mirror(topic_name)["state"] == "ACTIVE"
