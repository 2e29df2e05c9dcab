"""Journals and cuts on `replicator.state`: between the values of `model.switch` and protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine import state
from replicator.model.acl import Rule, parse
from replicator.model.switch import (
    Away,
    Close,
    Cut,
    Decision,
    Direction,
    End,
    GroupsNote,
    Journal,
    LeftOut,
    Options,
    Outcome,
    StepName,
    StepRecord,
    Switches,
    Verb,
    by_topic,
)
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from replicator.engine.state_log import Change

_UNKNOWN = -1
_COPY = "copy"


def journal_key(uid: str) -> bytes:
    """Return the key of a flow's switches, on its target."""
    return state.key(pb.KIND_JOURNAL, uid)


def copy_key(uid: str) -> bytes:
    """Return the key of the copy of a running switch, on the flow's source."""
    return state.key(pb.KIND_JOURNAL, uid, _COPY)


def switches_of(records: Mapping[bytes, bytes], uid: str) -> Switches:
    """Return the switches of a flow."""
    raw = records.get(journal_key(uid))
    if raw is None:
        return Switches()
    record = pb.JournalRecord.FromString(raw)
    current = _journal(record.current) if record.HasField("current") else None
    return Switches(current, tuple(_journal(one) for one in record.past))


def put_switches(uid: str, switches: Switches) -> Change:
    """Return the change that stores them."""
    record = pb.JournalRecord(past=[_record(one) for one in switches.past])
    if switches.current is not None:
        record.current.CopyFrom(_record(switches.current))
    return state.put(journal_key(uid), record)


def locks_of_switch(records: Mapping[bytes, bytes], uid: str) -> list[Rule]:
    """Return the rules with which the last switch of a flow closes its source, or closed it."""
    current = switches_of(records, uid).current
    if current is None:
        return []
    return [parse(text) for text in (*current.locks, *current.inherited_locks, *current.other_locks)]


def copy_of(records: Mapping[bytes, bytes], uid: str) -> Journal | None:
    """Return the copy that the source has of a flow's switch."""
    raw = records.get(copy_key(uid))
    return _journal(pb.SwitchRecord.FromString(raw)) if raw is not None else None


def put_copy(uid: str, copy: Journal) -> Change:
    """Return the change that stores it."""
    return state.put(copy_key(uid), _record(copy))


def copies_to(
    records: Mapping[bytes, bytes], flow: str, target_cluster_id: str | None
) -> Iterator[tuple[str, Journal]]:
    """Return the copies of switches of a flow to a target, each with the flow's uid: for when that target is lost.

    One that an older version wrote does not tell its target: it is returned whatever the target is.
    """
    for raw_key, value in records.items():
        parsed = state.parse_key(raw_key)
        if parsed is not None and parsed.kind == pb.KIND_JOURNAL and parsed.topic == _COPY:
            copy = _journal(pb.SwitchRecord.FromString(value))
            if copy.flow == flow and copy.target_cluster_id in {"", target_cluster_id}:
                yield parsed.flow_uid, copy


def put_cuts(uid: str, switch_id: str, epoch: int, cuts: Iterable[Cut], at_ms: int) -> list[Change]:
    """Return the changes that record where a switch cut each topic."""
    changes = []
    for some in _cut_topics(cuts):
        key = state.key(pb.KIND_CUT, uid, some.target_topic)
        changes.append(state.put(key, pb.CutRecord(switch_id=switch_id, at_ms=at_ms, epoch=epoch, cuts=some)))
    return changes


def unlooked_cuts(records: Mapping[bytes, bytes], uid: str) -> dict[str, pb.CutRecord]:
    """Return the cut records, by target topic, of versions that did not look whose records stand below a cut."""
    found: dict[str, pb.CutRecord] = {}
    for mirror in state.mirrors_of(records, uid):
        raw = records.get(state.key(pb.KIND_CUT, uid, mirror.target_topic))
        record = pb.CutRecord.FromString(raw) if raw is not None else pb.CutRecord()
        if record.cuts.partitions and not record.cuts.foreign:
            found[mirror.target_topic] = record
    return found


def cuts_in(record: pb.CutRecord) -> list[Cut]:
    """Return the cuts of one record."""
    return list(_cuts([record.cuts]))


def cuts_of(records: Mapping[bytes, bytes], uid: str, target_topics: Collection[str]) -> tuple[tuple[Cut, ...], int]:
    """Return where the last switch of each topic cut it, and the highest epoch of their fences."""
    found: list[Cut] = []
    epoch = 0
    for topic in target_topics:
        raw = records.get(state.key(pb.KIND_CUT, uid, topic))
        if raw is not None:
            record = pb.CutRecord.FromString(raw)
            found += _cuts([record.cuts])
            epoch = max(epoch, record.epoch)
    return tuple(sorted(found)), epoch


# -- one switch --------------------------------------------------------------------------------------------------------


def _record(journal: Journal) -> pb.SwitchRecord:
    options, groups = journal.options, journal.groups
    record = pb.SwitchRecord(
        id=journal.id,
        verb=journal.verb,
        flow=journal.flow,
        topics=journal.topics,
        left_out=[pb.SwitchLeftOut(topic=one.topic, why=one.why) for one in journal.left_out],
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
        cuts=_cut_topics(journal.cuts),
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
    return record


def _journal(record: pb.SwitchRecord) -> Journal:
    options = record.options
    return Journal(
        id=record.id,
        verb=Verb(record.verb),
        flow=record.flow,
        topics=tuple(record.topics),
        left_out=tuple(LeftOut(one.topic, Away(one.why)) for one in record.left_out),
        options=Options(
            close=Close(options.close),
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
        reached=StepName(record.reached) if record.reached else None,
        direction=Direction(record.direction),
        outcome=Outcome(record.outcome),
        stopped_by=record.stopped_by,
        escalated=record.escalated,
        locks=tuple(record.locks),
        inherited_locks=tuple(record.inherited_locks),
        other_locks=tuple(record.other_locks),
        ends=tuple(_ends(record.ends)),
        groups=GroupsNote(record.groups_exact, tuple(record.groups_inexact), record.groups_inexact_count),
        fence_epoch=record.fence_epoch if record.HasField("fence_epoch") else None,
        cuts=tuple(sorted(_cuts(record.cuts))),
        topic_ids=tuple(sorted(record.topic_ids.items())),
        confirmed=record.confirmed,
        decision=Decision(record.decision) if record.decision else None,
        is_copy=record.is_copy,
        replaces=record.replaces,
        history=tuple(StepRecord(StepName(one.step), one.at_ms, one.executor) for one in record.history),
        executor=record.executor,
        target_cluster_id=record.target_cluster_id,
    )


def _end_topics(ends: Iterable[End]) -> list[pb.TopicEnds]:
    topics: dict[str, pb.TopicEnds] = {}
    for end in sorted(ends):
        topic = topics.setdefault(end.topic, pb.TopicEnds(topic=end.topic))
        topic.partitions.append(end.partition)
        topic.ends.append(end.source)
        topic.identical.append(end.identical)
    return list(topics.values())


def _ends(topics: Iterable[pb.TopicEnds]) -> Iterator[End]:
    for topic in topics:
        for partition, end, identical in zip(topic.partitions, topic.ends, topic.identical, strict=True):
            yield End(topic.topic, partition, end, identical)


def _cut_topics(cuts: Iterable[Cut]) -> list[pb.TopicCuts]:
    topics = []
    for name, some in by_topic(cuts).items():
        topic = pb.TopicCuts(topic=name, target_topic=some[0].target_topic)
        for cut in some:
            topic.partitions.append(cut.partition)
            topic.source.append(cut.source)
            topic.target.append(cut.target)
            topic.mapped.append(cut.mapped)
            topic.observed_end.append(_or_unknown(cut.observed_end))
            topic.observed_ms.append(_or_unknown(cut.observed_ms))
            topic.tail_end.append(_or_unknown(cut.tail_end))
            topic.foreign.append(cut.foreign)
        topics.append(topic)
    return topics


def _cuts(topics: Iterable[pb.TopicCuts]) -> Iterator[Cut]:
    for topic in topics:
        for at, partition in enumerate(topic.partitions):
            yield Cut(
                topic.topic,
                partition,
                topic.source[at],
                topic.target[at],
                topic.target_topic,
                topic.mapped[at],
                _known(topic.observed_end[at]),
                _known(topic.observed_ms[at]),
                _known(topic.tail_end[at]),
                topic.foreign[at] if topic.foreign else 0,  # before it was looked at, nothing was recorded
            )


def _or_unknown(value: int | None) -> int:
    return _UNKNOWN if value is None else value


def _known(value: int) -> int | None:
    return None if value == _UNKNOWN else value
