"""Follows what is recorded of one flow on its target, whoever wrote it: paused, fenced, sharded anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.copy.values import Phase
from replicator.engine.state import records as state
from replicator.engine.work.fence import role_text
from replicator.model.states import Reason
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.flow.assembly import Parts
    from replicator.engine.flow.inputs import FlowInputs
    from replicator.engine.flow.standing import Standing

log = get_logger(__name__)


class Following:
    """Follows the records of one flow.

    Args:
        inputs: What it works with.
        standing: How it stands.
        topics_stale: Called when its topics have to be looked at.

    Attributes:
        resharded: Set once the flow has another number of shards than its file.
    """

    def __init__(self, inputs: FlowInputs, standing: Standing, topics_stale: Callable[[], None]) -> None:
        self.resharded = asyncio.Event()
        self._inputs = inputs
        self._standing = standing
        self._topics_stale = topics_stale
        self._writers_changed = False

    def record(self, key: bytes) -> None:
        """Take up what was recorded under a key."""
        if self._standing.parts is None:
            return
        uid = self._standing.parts.identity.uid
        if key == state.flow_key(uid):
            self.desired()
        if key.startswith(state.writer_key(uid)) and not self._writers_changed:
            # Once behind all records of a change: a switch of a thousand topics changes as many.
            self._writers_changed = True
            asyncio.get_running_loop().call_soon(self._writers, self._standing.parts)
        topic = self._standing.parts.sync.note_record(key)
        if topic is not None:
            self._standing.parts.lineup.begin_anew(topic)
            self._topics_stale()

    def _writers(self, parts: Parts) -> None:
        """Stop at once what a fence has begun for; begin anew with what may be copied (again)."""
        self._writers_changed = False
        before, writers = parts.pump.context.writers, state.writers_of(parts.state_log.records, parts.identity.uid)
        if writers is None or writers == before:
            return
        parts.pump.context.writers = writers
        changed = [
            slot
            for slot in parts.pump.partitions.values()
            if writers.of(slot.target.topic) != before.of(slot.target.topic)
        ]
        names = sorted(topic for topic, own in writers.own.items() if own != before.of(topic))
        writer = writers.flow
        told = {"role": writer.role, "epoch": writer.producer_epoch, "apart": names}
        log.warning("writer changed", flow=self._inputs.flow.name, **told, always=True)
        parts.lineup.forget([slot for slot in changed if writers.copies(slot.target.topic)])
        for slot in changed:
            if not writers.copies(slot.target.topic):
                parts.pump.fault(slot, Reason.FENCED, role_text(writers.of(slot.target.topic).role))
        self._topics_stale()

    def desired(self) -> None:
        """Pause or resume as the state topic says, whoever wrote it."""
        parts = self._standing.parts
        if parts is None:
            return
        record = state.get_flow(parts.state_log.records, parts.identity.uid)
        if state.shards_of(record) != self._inputs.flow.shards:
            self.resharded.set()
        paused = record.desired == pb.DESIRED_PAUSED
        if paused == self._standing.paused:
            return
        self._standing.paused = paused
        log.info("flow paused" if paused else "flow resumed", flow=self._inputs.flow.name, actor=record.desired_actor)
        for slot in parts.pump.partitions.values():
            if paused:
                parts.pump.pause(slot)
            elif slot.copy.phase is Phase.PAUSED:
                parts.pump.resume(slot)
