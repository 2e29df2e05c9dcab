"""Repairs what an earlier version broke: it confused a flow whose source did not answer with another of the same name.

So it carried out steps of that flow's switch on the wrong source, and started the reverse flow there. The records show
it without any guessing: the source has what a switch of a flow from elsewhere left. Such a reverse flow is put on
standby again; what it wrote in the meantime is reported, for the operator to judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Role
from replicator.engine.state import records as state
from replicator.engine.state.journal import copy_key, copy_of, switches_of
from replicator.engine.switch.takeover import taken_by
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from replicator.engine.state.topic.log import Change
    from replicator.engine.switch.context import SwitchContext

_NAMED_MAX = 10

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ForeignFlow:
    """Another flow of the same name on the target, and the names of its switches in records."""

    record: pb.FlowRecord
    reasons: frozenset[str]


async def undo_mix_ups(context: SwitchContext) -> str | None:
    """Put a reverse flow that another flow's switch started on standby; return what was found, None if nothing.

    Raises:
        KafkaError: A cluster cannot be asked.
        Conflict: Others kept changing the records.
    """
    foreign = foreign_switches(context.log.records, context.uid, context.flow.name, context.source.cluster_id)
    if not foreign or not await context.has_source_log():
        return None
    source_log = await context.source_log()
    back = ""
    if context.reverse is not None:
        known = state.find_flow(
            source_log.records, context.reverse.name, context.target.cluster_id, context.source.cluster_id
        )
        back = known.uid if known is not None else ""
    left = what_they_left(source_log.records, back, foreign)
    if not left:
        return None
    await source_log.change(back or context.uid, lambda records: undoing(records, back, foreign))
    text = f"{context.flow.source} holds what switches of another flow named {context.flow.name!r} left: "
    text += "; ".join(left[:_NAMED_MAX])
    log.warning("switches of another flow were carried out here", flow=context.flow.name, why=text)
    return text


def foreign_switches(records: Mapping[bytes, bytes], uid: str, name: str, source_id: str | None) -> list[ForeignFlow]:
    """Return the flows of this name from other sources that were ever switched.

    Args:
        records: Records of the target's state topic.
        uid: Uid of this flow.
        name: Name of this flow.
        source_id: Id of the cluster that this flow copies from.
    """
    found = []
    for one in state.flows_named(records, name):
        if one.uid == uid or one.source_cluster_id == source_id:
            continue
        reasons = frozenset(f"{each.verb} {each.id} of {name}" for each in switches_of(records, one.uid).all)
        if reasons:
            found.append(ForeignFlow(one, reasons))
    return found


def what_they_left(records: Mapping[bytes, bytes], back: str, foreign: Iterable[ForeignFlow]) -> list[str]:
    """Return what other flows' switches left on a source that is not theirs.

    Args:
        records: Records of the source's state topic.
        back: Uid of the reverse flow to this source, empty if there is none.
        foreign: What `foreign_switches` found.
    """
    left = [f"a copy of {_said(one)}" for one in foreign if copy_of(records, one.record.uid) is not None]
    for mirror, whose in _taken(records, back, foreign):
        places = ", ".join(f"{number} from {known.judged_from}" for number, known in sorted(mirror.maps.items()))
        left.append(
            f"topic {mirror.target_topic}, taken over by {_said(whose)}: it may hold that flow's records (partition "
            f"{places}); the reverse flow is on standby"
        )
    return left


def undoing(records: Mapping[bytes, bytes], back: str, foreign: Iterable[ForeignFlow]) -> list[Change]:
    """Return the change that puts a reverse flow started by another flow's switch on standby, and drops its copies."""
    changes: list[Change] = [
        (copy_key(one.record.uid), None) for one in foreign if copy_of(records, one.record.uid) is not None
    ]
    writer = state.get_writer(records, back) if any(True for _ in _taken(records, back, foreign)) else None
    if writer is not None and writer.role is Role.COPYING:
        record = state.get_writer_record(records, back)
        record.role = pb.WRITER_ROLE_PROMOTED
        changes.append(state.put(state.writer_key(back), record))
    return changes


def _said(one: ForeignFlow) -> str:
    return f"a switch of the flow from {one.record.source_alias} (cluster {one.record.source_cluster_id})"


def _taken(
    records: Mapping[bytes, bytes], back: str, foreign: Iterable[ForeignFlow]
) -> Iterator[tuple[pb.MirrorRecord, ForeignFlow]]:
    """Yield the topics that the reverse flow last took over for another flow's switch, and that flow."""
    for mirror in state.mirrors_of(records, back):
        last = taken_by(mirror)
        whose = next((one for one in foreign if last in one.reasons), None)
        if whose is not None:
            yield mirror, whose
