"""Journals and cuts on `replicator.state`: converts between the values of `model.switch` and protobuf."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.unknown_fields import UnknownFieldSet

from replicator.engine.state import records as state
from replicator.engine.state.cuts import cut_topics, cuts_from, fitting
from replicator.engine.state.topic.damage import read_record
from replicator.engine.state.topic.index import indexed, made_of
from replicator.model.acl import Rule, parse
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import (
    Close,
    Decision,
    Direction,
    End,
    GroupsNote,
    LeftOutMirror,
    LeftOutReason,
    Options,
    Outcome,
    StepName,
    StepRecord,
    Verb,
)
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from replicator.engine.state.topic.log import Change

_PLACE = attrgetter("topic", "partition")
"""The sort key of ends and cuts: no two of them share a partition."""
_COPY = "copy"
_LEFT_OUT = "left_out"
_OBSERVED_ANEW = (StepName.VERIFY_FENCE, StepName.PROMOTE, StepName.CLAMP_GROUPS)
"""Steps that are repeated if an earlier version reported what the fence's partitions show."""


def journal_key(uid: str) -> bytes:
    """Return the key of a flow's journal, on its target."""
    return state.key(pb.KIND_JOURNAL, uid)


def copy_key(uid: str) -> bytes:
    """Return the key of the copy of a running switch, on the flow's source."""
    return state.key(pb.KIND_JOURNAL, uid, _COPY)


class _Parsed(NamedTuple):
    """A flow's parsed journal; with tens of thousands of partitions, parsing takes longer than everything else."""

    record: pb.JournalRecord
    current: Journal | None
    past: tuple[Journal, ...]


def _parsed(key: bytes, raw: bytes) -> _Parsed:
    record = read_record(pb.JournalRecord, key, raw)
    current = _journal(record.current) if record.HasField("current") else None
    return _Parsed(record, current, tuple(map(_journal, record.past)))


def switches_of(records: Mapping[bytes, bytes], uid: str) -> Switches:
    """Return the switches of a flow; what an earlier version lost or observed wrongly is corrected."""
    key = journal_key(uid)
    if key not in records:
        return Switches()
    known = _known_left_out(records, uid)
    with fitting(key):
        found = made_of(records, key, partial(_parsed, key))
        current = _whole(found.record.current, found.current, known) if found.current is not None else None
        past = zip(found.record.past, found.past, strict=True)
        return Switches(current, tuple(_whole(record, one, known) for record, one in past))


def put_switches(uid: str, switches: Switches) -> list[Change]:
    """Return the changes that store the switches."""
    record = pb.JournalRecord(past=[_record(one) for one in switches.past])
    if switches.current is not None:
        record.current.CopyFrom(_record(switches.current))
    some = [
        pb.LeftOutRecord.Switch(id=one.id, started_ms=one.started_ms, left_out=_left_out_records(one))
        for one in switches.all
        if one.left_out
    ]
    changes = [state.put(journal_key(uid), record)]
    if some:
        changes.append(state.put(state.key(pb.KIND_JOURNAL, uid, _LEFT_OUT), pb.LeftOutRecord(switches=some)))
    return changes


def lost_left_out(records: Mapping[bytes, bytes], uid: str) -> tuple[LeftOutMirror, ...]:
    """Return what the running switch leaves out but its journal omits, as an earlier version wrote the journal last."""
    raw = records.get(journal_key(uid))
    record = read_record(pb.JournalRecord, journal_key(uid), raw) if raw is not None else pb.JournalRecord()
    running = switches_of(records, uid).running
    if running is None:
        return ()
    said = {one.topic for one in record.current.left_out}
    return tuple(one for one in running.left_out if one.topic not in said)


def locks_of_switch(records: Mapping[bytes, bytes], uid: str) -> list[Rule]:
    """Return the rules with which the last switch of a flow closes, or closed, its source."""
    current = switches_of(records, uid).current
    if current is None:
        return []
    return [parse(text) for text in (*current.locks, *current.inherited_locks, *current.other_locks)]


def copy_of(records: Mapping[bytes, bytes], uid: str) -> Journal | None:
    """Return the copy of a flow's switch that the source has."""
    raw = records.get(copy_key(uid))
    if raw is None:
        return None
    with fitting(copy_key(uid)):
        return _journal(read_record(pb.SwitchRecord, copy_key(uid), raw))


def put_copy(uid: str, copy: Journal) -> Change:
    """Return the change that stores the copy."""
    return state.put(copy_key(uid), _record(copy))


def copies_to(
    records: Mapping[bytes, bytes], flow: str, target_cluster_id: str | None
) -> Iterator[tuple[str, Journal]]:
    """Return the copies of a flow's switches to a target, each with the flow's uid, for when that target is lost.

    A copy that an older version wrote does not name its target: it is returned for any target.
    """
    for raw_key, parsed, value in indexed(records).find(pb.KIND_JOURNAL, topic=_COPY):
        with fitting(raw_key):
            copy = _journal(read_record(pb.SwitchRecord, raw_key, value))
        if copy.flow == flow and copy.target_cluster_id in {"", target_cluster_id}:
            yield parsed.flow_uid, copy


# -- what earlier versions lose, or observed wrongly -------------------------------------------------------------------


def _known_left_out(records: Mapping[bytes, bytes], uid: str) -> list[pb.LeftOutRecord.Switch]:
    key = state.key(pb.KIND_JOURNAL, uid, _LEFT_OUT)
    raw = records.get(key)
    return list(read_record(pb.LeftOutRecord, key, raw).switches) if raw is not None else []


def _whole(record: pb.SwitchRecord, journal: Journal, known: Iterable[pb.LeftOutRecord.Switch]) -> Journal:
    """Return a switch as this version would have recorded it, whichever version wrote its journal last."""
    if _saw_cuts_too_high(record, journal):
        history = tuple(one for one in journal.history if one.step not in _OBSERVED_ANEW)
        journal = replace(journal, reached=StepName.FENCE, history=history, cuts=())
    said = {one.topic for one in journal.left_out}
    for one in known:
        # A failover that takes over from a switchover keeps its start time, and has another id.
        if one.started_ms == journal.started_ms and (one.id == journal.id or journal.escalated):
            said_there = _left_out(one.left_out)
            lost = [each for each in said_there if each.topic not in said]
            if lost:
                journal = _without(replace(journal, left_out=tuple(sorted((*journal.left_out, *lost)))))
    return journal


def _saw_cuts_too_high(record: pb.SwitchRecord, journal: Journal) -> bool:
    """Return whether an earlier version reported what a fence's partitions show, and no step has relied on it yet.

    That version may have counted the fence's own marker. A version that does not count it also records what others
    wrote below it.
    """
    return (
        not journal.finished
        and journal.direction is Direction.FORWARD
        and journal.did(StepName.VERIFY_FENCE)
        and not journal.did(StepName.RECORD_CUT)
        and any(one.partitions and not one.foreign for one in record.cuts)
    )


def _without(journal: Journal) -> Journal:
    """Return a journal without the notes on topics that it leaves out."""
    scope = journal.scope
    return replace(
        journal,
        ends=tuple(end for end in journal.ends if end.topic in scope),
        cuts=tuple(cut for cut in journal.cuts if cut.topic in scope),
    )


# -- one switch --------------------------------------------------------------------------------------------------------


def _left_out_records(journal: Journal) -> list[pb.SwitchLeftOut]:
    return [pb.SwitchLeftOut(topic=one.topic, why=one.why) for one in journal.left_out]


def _left_out(records: Iterable[pb.SwitchLeftOut]) -> tuple[LeftOutMirror, ...]:
    return tuple(LeftOutMirror(one.topic, LeftOutReason.read(one.why)) for one in records)


def _rest(record: pb.SwitchRecord) -> bytes:
    """Return the fields of a record that this version does not know, serialized."""
    if not len(UnknownFieldSet(record)):
        return b""
    rest = pb.SwitchRecord.FromString(record.SerializeToString())
    for field in rest.DESCRIPTOR.fields:
        rest.ClearField(field.name)
    return rest.SerializeToString(deterministic=True)


def _record(journal: Journal) -> pb.SwitchRecord:
    options, groups = journal.options, journal.groups
    record = pb.SwitchRecord(
        id=journal.id,
        verb=journal.verb,
        flow=journal.flow,
        topics=journal.topics,
        left_out=_left_out_records(journal),
        options=pb.SwitchOptions(
            close=options.close,
            reverse_flow=options.reverse_flow,
            way_back=options.way_back,
            groups_exact=options.groups_exact,
            timeout_ms=options.timeout_ms,
            append=options.append,
            switch_back=options.switch_back,
            restored=options.restored,
        ),
        actor=journal.actor,
        reason=journal.reason,
        started_ms=journal.started_ms,
        ended_ms=journal.ended_ms,
        revision=journal.revision,
        reached=journal.reached or "",
        direction=journal.direction,
        outcome=journal.outcome,
        stopped_by=journal.stopped_by,
        escalated=journal.escalated,
        locks=journal.locks,
        inherited_locks=journal.inherited_locks,
        other_locks=journal.other_locks,
        ends=_end_topics(journal.ends),
        groups_exact=groups.exact,
        groups_inexact=groups.inexact,
        groups_inexact_count=groups.inexact_count,
        fence_epoch=journal.fence_epoch,
        cuts=cut_topics(journal.cuts),
        topic_ids=dict(journal.topic_ids),
        confirmed=journal.confirmed,
        decision=journal.decision or "",
        is_copy=journal.is_copy,
        replaces=journal.replaces,
        executor=journal.executor,
        target_cluster_id=journal.target_cluster_id,
    )
    for one in journal.history:
        record.history.add(step=one.step, at_ms=one.at_ms, executor=one.executor)
    record.MergeFromString(journal.rest)
    return record


def _journal(record: pb.SwitchRecord) -> Journal:
    options = record.options
    return Journal(
        id=record.id,
        verb=Verb.read(record.verb),
        flow=record.flow,
        topics=tuple(record.topics),
        left_out=_left_out(record.left_out),
        options=Options(
            close=Close.read(options.close),
            reverse_flow=options.reverse_flow,
            way_back=options.way_back,
            groups_exact=options.groups_exact,
            timeout_ms=options.timeout_ms,
            append=options.append,
            switch_back=options.switch_back,
            restored=options.restored,
        ),
        actor=record.actor,
        reason=record.reason,
        started_ms=record.started_ms,
        ended_ms=record.ended_ms if record.HasField("ended_ms") else None,
        revision=record.revision,
        reached=StepName.read(record.reached) if record.reached else None,
        direction=Direction.read(record.direction),
        outcome=Outcome.read(record.outcome),
        stopped_by=record.stopped_by,
        escalated=record.escalated,
        locks=tuple(record.locks),
        inherited_locks=tuple(record.inherited_locks),
        other_locks=tuple(record.other_locks),
        ends=tuple(_ends(record.ends)),
        groups=GroupsNote(record.groups_exact, tuple(record.groups_inexact), record.groups_inexact_count),
        fence_epoch=record.fence_epoch if record.HasField("fence_epoch") else None,
        cuts=tuple(sorted(cuts_from(record.cuts), key=_PLACE)),
        topic_ids=tuple(sorted(record.topic_ids.items())),
        confirmed=record.confirmed,
        decision=Decision.read(record.decision) if record.decision else None,
        is_copy=record.is_copy,
        replaces=record.replaces,
        history=tuple(StepRecord(StepName.read(one.step), one.at_ms, one.executor) for one in record.history),
        executor=record.executor,
        target_cluster_id=record.target_cluster_id,
        rest=_rest(record),
    )


def _end_topics(ends: Iterable[End]) -> list[pb.TopicEnds]:
    topics: dict[str, list[End]] = {}
    for end in sorted(ends, key=_PLACE):
        topics.setdefault(end.topic, []).append(end)
    return [
        pb.TopicEnds(
            topic=name,
            partitions=[end.partition for end in some],
            ends=[end.source for end in some],
            identical=[end.identical for end in some],
        )
        for name, some in topics.items()
    ]


def _ends(topics: Iterable[pb.TopicEnds]) -> Iterator[End]:
    for topic in topics:
        for partition, end, identical in zip(topic.partitions, topic.ends, topic.identical, strict=True):
            yield End(topic.topic, partition, end, identical)
