"""Batches that both sides store alike are opened once, and nothing else about their comparison changes."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator

import pytest

from replicator.core.offsets.map_view import MapView
from replicator.core.verify.pace import Pace
from replicator.core.verify.record_diff import RecordDiff
from replicator.engine.logs.ranges import partition_reader
from replicator.engine.verify.partition import Comparison, Meter, Task
from replicator.engine.verify.result import PartitionVerdict
from replicator.engine.verify.sides import TwoSides
from replicator.engine.verify.slice import Bounds, compare_slice
from replicator.model.batch import HEADER, LOG_APPEND_TIME_BIT
from replicator.wire.batches.records import NewRecord
from replicator.wire.batches.rows import rows_of
from tests.unit.engine.log_broker import Log
from tests.unit.engine.test_large_batches import MIB, stored
from tests.unit.engine.test_partition_reader import WHERE, Served, _summed
from tests.unit.engine.test_verify_room import Counted, OneByOne

OURS, CODECS = 77, (0, 1, 2, 3, 4)
RECORDS = [NewRecord(5 + at, b"k%d" % at, b"v" * at, [(b"h", b"%d" % at)]) for at in range(7)]


@pytest.fixture
def pair() -> Iterator[tuple[Served, Served]]:
    """Two brokers."""
    made = Served(end=0), Served(end=0)
    yield made
    for each in made:
        each.close()


class Opened:
    """Counts how often batches are opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offsets: list[int] = []
        whole = rows_of

        def counted(frame: memoryview, header: object, *rest: object, **options: object) -> object:
            self.offsets.append(header.base_offset)  # type: ignore[attr-defined]
            return whole(frame, header, *rest, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(partition_reader, "rows_of", counted)


def compared(
    pair: tuple[Served, Served],
    source: list[bytes],
    target: list[bytes],
    end: int,
    view: MapView | None = None,
    **options: object,
) -> tuple[PartitionVerdict, RecordDiff]:
    """Compare two logs."""
    for served, batches in zip(pair, (source, target), strict=True):
        kind = OneByOne if options else Log
        served.broker.logs[WHERE] = kind(batches, end=end)
    left, right = (each.reader(rereads=first, **options) for first, each in zip((True, False), pair, strict=True))
    task = Task("orders", WHERE, WHERE, 0, 0, end, end, compacted=False, view=view or MapView())
    comparison = Comparison(task, left, right, Meter(), first_max=9)
    return comparison.run(threading.Event()), comparison.diff


def copied(base: int, records: list[NewRecord], codec: int = 4) -> tuple[bytes, bytes]:
    """Return a batch, and what the copy makes of it."""
    return stored(base, records, codec), stored(base, records, codec, producer_id=OURS)


@pytest.mark.parametrize("codec", CODECS)
def test_a_copied_batch_is_opened_once(
    pair: tuple[Served, Served], monkeypatch: pytest.MonkeyPatch, codec: int
) -> None:
    """What is told is the same as where the target was encoded anew, or cut into other batches, or other records."""
    opened = Opened(monkeypatch)
    batches = [copied(at, RECORDS, codec) for at in (0, 7, 14)]
    source, target = [one for one, _ in batches], [other for _, other in batches]
    verdict, diff = compared(pair, source, target, 21)
    assert opened.offsets == [0, 7, 14]
    assert (verdict.records, verdict.differences, verdict.problem) == (21, 0, None)

    others = {
        "encoded anew": [target[0], stored(7, RECORDS, (codec + 1) % 5), target[2]],
        "cut": [target[0], stored(7, RECORDS[:3], codec), stored(10, RECORDS[3:], codec), target[2]],
        "in one": [stored(0, RECORDS, codec), stored(7, [*RECORDS, *RECORDS], codec)],
    }
    for name, log in others.items():
        opened.offsets.clear()
        again, _ = compared(pair, source, log, 21)
        assert (again.records, again.differences, again.digest, again.bytes) == (
            21,
            0,
            verdict.digest,
            verdict.bytes,
        ), name
        assert len(opened.offsets) > 3, name

    opened.offsets.clear()
    changed = stored(7, [*RECORDS[:6], NewRecord(11, b"k6", b"w" * 6, [(b"h", b"6")])], codec, producer_id=OURS)
    again, diff = compared(pair, source, [target[0], changed, target[2]], 21)
    assert (again.records, again.digest, again.bytes) == (21, verdict.digest, verdict.bytes)
    assert [(found.offset, found.kind.value) for found in diff.first] == [(13, "value")]
    assert opened.offsets == [0, 7, 7, 14]


@pytest.mark.parametrize(
    ("at", "value"), [("attributes", LOG_APPEND_TIME_BIT), ("base_timestamp", 6), ("last_offset_delta", 7)]
)
def test_what_the_header_tells_of_records_counts(pair: tuple[Served, Served], at: str, value: int) -> None:
    """The same bytes behind it are other records then."""
    one, other = copied(0, RECORDS, 0)
    fields = HEADER.unpack_from(other)
    names = ["base_offset", "length", "leader_epoch", "magic", "crc", "attributes", "last_offset_delta"]
    changed = list(fields)
    changed[[*names, "base_timestamp"].index(at)] = value
    raw = bytearray(other)
    HEADER.pack_into(raw, 0, *changed)
    verdict, diff = compared(pair, [one], [bytes(_summed(raw))], 7 if at != "last_offset_delta" else 8)
    assert (verdict.differences > 0) is (at != "last_offset_delta")
    assert {found.kind.value for found in diff.first} <= {"timestamp"}


def test_damage_is_told_where_both_sides_have_the_same(pair: tuple[Served, Served]) -> None:
    """With a sound checksum, as a broken producer makes it; or with a checksum that is wrong on one side only."""
    one, other = copied(7, RECORDS, 4)
    sound = copied(0, RECORDS, 4)
    bad = []
    for raw in (bytearray(one), bytearray(other)):
        raw[61:75] = b"\0" * 14
        bad.append(bytes(_summed(raw)))
    verdict, _ = compared(pair, [sound[0], bad[0]], [sound[1], bad[1]], 14)
    assert (verdict.records, verdict.differences) == (7, 0)
    assert "the batch at offset 7 is damaged" in (verdict.problem or "")

    for damaged in (0, 1):
        batches = [one, other]
        raw = bytearray(batches[damaged])
        struct.pack_into(">I", raw, 17, 1)
        batches[damaged] = bytes(raw)
        verdict, _ = compared(pair, [sound[0], batches[0]], [sound[1], batches[1]], 14)
        assert (verdict.records, verdict.differences) == (7, 0)
        assert "the batch at offset 7 is damaged: its CRC" in (verdict.problem or "")


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("count", [1, 3000])
def test_large_batches_are_in_memory_one_at_a_time(pair: tuple[Served, Served], *, alike: bool, count: int) -> None:
    """Of one record, or of many: of the side that is not opened there is a digest. Only many that differ take both."""
    value = bytes(2 * MIB // count)
    source, target = (
        [stored(at, [NewRecord(5, None, value)] * count, 0 if alike else codec, producer_id=OURS) for at in (0, count)]
        for codec in (0, 1)
    )
    if not alike:  # as large as they were
        target = [stored(at, [NewRecord(5, b"", value)] * count, 0) for at in (0, count)]
    room = Counted()
    verdict, _ = compared(pair, source, target, 2 * count, room=room, fetch_bytes=MIB)
    assert (verdict.records, verdict.differences) == (2 * count, 0 if alike else 2 * count)
    assert room.most < (5 if count > 1 and not alike else 3) * MIB
    assert room.held == 0


def test_offsets_that_are_not_the_same_are_compared_record_by_record(
    pair: tuple[Served, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so are logs of which a part was given up."""
    opened = Opened(monkeypatch)
    one, other = copied(0, RECORDS)
    verdict, _ = compared(pair, [one], [other], 7, MapView(given_up=((2, 3),)))
    assert opened.offsets == [0, 0]
    assert verdict.differences == 1  # it is there all the same


def test_the_rate_is_that_of_both_sides(pair: tuple[Served, Served]) -> None:
    """As it was where each of them was opened: what is read and compared is not less."""
    one, other = copied(0, RECORDS)
    found = []
    for target in (other, stored(0, RECORDS, 1)):
        for served, batch in zip(pair, (one, target), strict=True):
            served.broker.logs[WHERE] = Log([batch], end=7)
        left, right = (each.reader(rereads=False, reads_ahead=False) for each in pair)
        sides = TwoSides(left, right, WHERE, WHERE)
        diff, stop = RecordDiff(0), threading.Event()
        assert compare_slice(sides, diff, Bounds(0, 7, 7, MIB), Pace(None), stop, lambda _: None)
        assert (diff.records, diff.first) == (7, ())
        found.append(sides.opened_bytes)
    assert found[0] == found[1] > 0
