"""Which other flows own target topics of a flow, and what their daemons show (`core.topics.owner` decides)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Role
from replicator.core.topics.owner import Owner, OwnerLiveness, OwnerState
from replicator.engine.state import records as state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.engine.state.topic.log import StateLog
    from replicator.model.spec import FlowSpec

_STATE_OF_ROLE = {Role.COPYING: OwnerState.COPIES, Role.FENCING: OwnerState.SWITCHES, Role.PROMOTED: OwnerState.OPEN}


class Owners:
    """Other flows on the target of one flow.

    Args:
        flow: The flow's policy.
        uid: Its uid.
        state_log: The state topic of the target.
        silence_seconds: How long a daemon may have an effect after its last sign of life.
        now: Returns the monotonic time.
    """

    def __init__(
        self, flow: FlowSpec, uid: str, state_log: StateLog, silence_seconds: float, now: Callable[[], float]
    ) -> None:
        self._flow = flow
        self._uid = uid
        self._log = state_log
        self._silence_seconds = silence_seconds
        self._now = now
        self._signs: dict[str, tuple[dict[bytes, bytes], float]] = {}
        self._read_at = -1
        self._by_topic: dict[str, str] = {}
        self._observed_at: dict[str, int] = {}

    def of(self, topic: str) -> Owner | None:
        """Return the other flow that a target topic is recorded for; None if there is none."""
        if self._read_at != self._log.position:  # one search of all records for all topics of a pass
            self._by_topic = state.foreign_owners(self._log.records, self._uid)
            self._read_at = self._log.position
        uid = self._by_topic.get(topic)
        if uid is None:
            return None
        mine = state.stored_flow(self._log.records, self._uid)
        source_id = mine.source_cluster_id if mine is not None else ""
        return owner_of(self._log.records, (self._flow.name, source_id), uid, topic)

    def observe(self, owner: Owner) -> OwnerLiveness:
        """Look at the signs of life of a flow's daemons; their silence counts from the first look."""
        now, before = self._now(), self._signs.get(owner.uid)
        if before is not None and self._observed_at.get(owner.uid) == self._log.position:
            return OwnerLiveness(bool(before[0]), now - before[1], self._silence_seconds)
        self._observed_at[owner.uid] = self._log.position
        signs = state.signs_of(self._log.records, owner.uid)
        if before is None or before[0] != signs:
            before = self._signs[owner.uid] = signs, now
        return OwnerLiveness(bool(signs), now - before[1], self._silence_seconds)


def owner_of(records: Mapping[bytes, bytes], asking: tuple[str, str], uid: str, topic: str) -> Owner:
    """Return what a flow is to another flow whose target topic it owns.

    Args:
        records: Records of the state topic.
        asking: Name and source cluster id of the flow that asks.
        uid: The uid of the flow that owns the topic.
        topic: The topic on the target.
    """
    flow, writers = state.stored_flow(records, uid), state.writers_to(records, uid, topic)
    mirror = state.get_mirror(records, uid, topic)
    name = flow.name if flow is not None else (mirror.owner_flow_name if mirror is not None else "") or uid
    owner_state = OwnerState.REMOVED
    if flow is not None and writers is not None:
        owner_state = _STATE_OF_ROLE.get(writers.of(topic).role, OwnerState.REMOVED)
    return Owner(
        uid,
        name,
        flow.source_alias if flow is not None else "",
        flow.source_cluster_id if flow is not None else "",
        owner_state,
        same_name=name == asking[0],
        same_source=flow is not None and flow.source_cluster_id == asking[1],
        source_topic=mirror.source_topic if mirror is not None else "",
    )
