"""Repairs what an earlier version broke: a failback of a reverse flow that never ran took the role of the open flow.

That failback restored nothing, and let the other flow copy again, to the side that applications write to. The records
show it without any guessing: the flow was last opened by its own switch, and the reverse flow never had a mirror, so
nothing can have come back from there since. Such a flow is put on standby again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Role
from replicator.engine.state import records as state
from replicator.engine.state.journal import switches_of
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Outcome, Verb
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.state.topic.log import Change
    from replicator.engine.switch.context import SwitchContext

log = get_logger(__name__)


async def give_back_role(context: SwitchContext) -> str | None:
    """Put a flow whose role was taken on standby again; return what was found, None if nothing.

    Raises:
        KafkaError: A cluster cannot be asked.
        Conflict: Others kept changing the records.
    """
    opened = opened_and_copying(context.log.records, context.uid)
    if opened is None:
        return None
    theirs, reverse = await context.reverse_records()
    if reverse is None or not only_failed_back(theirs, reverse):
        return None
    await context.log.change(context.uid, lambda records: standing_by(records, context.uid))
    name, target = context.flow.name, context.flow.target
    text = (
        f"a failback of the reverse flow, which was never started, had let {name!r} copy to {target} again, which "
        f"{opened.verb} {opened.id} had opened: it is on standby again; `replicator failback {name}` brings it back"
    )
    log.warning("the role of an open flow was given back", flow=context.flow.name, why=text)
    return text


def opened_and_copying(records: Mapping[bytes, bytes], uid: str) -> Journal | None:
    """Return the last switch that opened a flow, if the flow copies nevertheless, with that very switch's epoch."""
    writer, switches = state.get_writer(records, uid), switches_of(records, uid)
    if writer is None or writer.role is not Role.COPYING or switches.running is not None:
        return None
    opened = [
        one for one in switches.all if one.outcome is Outcome.DONE and one.verb is not Verb.FAILBACK and not one.topics
    ]
    return opened[-1] if opened and opened[-1].fence_epoch == writer.producer_epoch else None


def only_failed_back(records: Mapping[bytes, bytes], reverse: str) -> bool:
    """Return whether a flow never had a mirror but was failed back."""
    if any(True for _ in state.mirrors_of(records, reverse)):
        return False
    return any(one.verb is Verb.FAILBACK and one.outcome is Outcome.DONE for one in switches_of(records, reverse).all)


def standing_by(records: Mapping[bytes, bytes], uid: str) -> list[Change]:
    """Return the change that puts the flow on standby; none if someone else was faster."""
    if opened_and_copying(records, uid) is None:
        return []
    record = state.get_writer_record(records, uid)
    record.role = pb.WRITER_ROLE_PROMOTED
    return [state.put(state.writer_key(uid), record)]
