"""The cuts of mirrors: in their own records, and as part of a journal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.engine.state.topic.damage import damaged_record, read_record
from replicator.model.switch.journal import by_topic
from replicator.model.switch.terms import Cut
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from replicator.engine.state.topic.log import Change

UNKNOWN = -1


def put_cuts(uid: str, switch_id: str, epoch: int, cuts: Iterable[Cut], at_ms: int) -> list[Change]:
    """Return the changes that record where a switch cut each topic."""
    changes = []
    for some in cut_topics(cuts):
        key = state.key(pb.KIND_CUT, uid, some.target_topic)
        changes.append(state.put(key, pb.CutRecord(switch_id=switch_id, at_ms=at_ms, epoch=epoch, cuts=some)))
    return changes


def unchecked_cuts(records: Mapping[bytes, bytes], uid: str) -> dict[str, pb.CutRecord]:
    """Return, by target topic, the cut records of versions that did not check who wrote the records below a cut."""
    found: dict[str, pb.CutRecord] = {}
    for mirror in state.mirrors_of(records, uid):
        key = state.key(pb.KIND_CUT, uid, mirror.target_topic)
        raw = records.get(key)
        record = read_record(pb.CutRecord, key, raw) if raw is not None else pb.CutRecord()
        if record.cuts.partitions and not record.cuts.foreign:
            found[mirror.target_topic] = record
    return found


def cuts_in(record: pb.CutRecord) -> list[Cut]:
    """Return the cuts of one record."""
    return list(cuts_from([record.cuts]))


def cuts_of(records: Mapping[bytes, bytes], uid: str, target_topics: Collection[str]) -> tuple[tuple[Cut, ...], int]:
    """Return the cuts of these topics by their last switches, and the highest epoch of those fences."""
    found: list[Cut] = []
    epoch = 0
    for topic in target_topics:
        key = state.key(pb.KIND_CUT, uid, topic)
        raw = records.get(key)
        if raw is not None:
            record = read_record(pb.CutRecord, key, raw)
            with fitting(key):
                found += cuts_from([record.cuts])
            epoch = max(epoch, record.epoch)
    return tuple(sorted(found)), epoch


@contextmanager
def fitting(key: bytes) -> Iterator[None]:
    """Report lists of a record that do not fit together as a damaged record."""
    try:
        yield
    except (IndexError, TypeError, ValueError) as error:
        raise damaged_record(key, f"{type(error).__name__}: {error}") from error


def cut_topics(cuts: Iterable[Cut]) -> list[pb.TopicCuts]:
    """Return cuts as they are recorded."""
    return [
        pb.TopicCuts(
            topic=name,
            target_topic=some[0].target_topic,
            partitions=[cut.partition for cut in some],
            source=[cut.source for cut in some],
            target=[cut.target for cut in some],
            mapped=[cut.mapped for cut in some],
            observed_end=[_or_unknown(cut.observed_end) for cut in some],
            observed_ms=[_or_unknown(cut.observed_ms) for cut in some],
            tail_end=[_or_unknown(cut.tail_end) for cut in some],
            foreign=[cut.foreign for cut in some],
        )
        for name, some in by_topic(cuts).items()
    ]


def cuts_from(topics: Iterable[pb.TopicCuts]) -> Iterator[Cut]:
    """Yield the cuts that are recorded."""
    for topic in topics:
        name, target = topic.topic, topic.target_topic
        # Earlier versions did not look for records of others, and recorded no count of them.
        foreign = list(topic.foreign) or [0] * len(topic.partitions)
        columns = (topic.source, topic.target, topic.mapped, topic.observed_end, topic.observed_ms, topic.tail_end)
        for partition, source, at, mapped, end, seen_ms, tail, others in zip(
            topic.partitions, *columns, foreign, strict=True
        ):
            yield Cut(name, partition, source, at, target, mapped, _known(end), _known(seen_ms), _known(tail), others)


def _or_unknown(value: int | None) -> int:
    return UNKNOWN if value is None else value


def _known(value: int) -> int | None:
    return None if value == UNKNOWN else value
