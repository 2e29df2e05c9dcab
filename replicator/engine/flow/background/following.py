"""Follows what is recorded about one flow on its target, whoever wrote it: paused, fenced, resharded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.copy.values import Phase
from replicator.engine.state import records as state
from replicator.engine.work.fence import role_text
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.flow.assembly.assemble import Assembly
    from replicator.engine.flow.assembly.inputs import FlowInputs
    from replicator.engine.flow.assembly.run_state import RunState

log = get_logger(__name__)


class Following:
    """Follows the records of one flow.

    Args:
        inputs: What the flow works with.
        run_state: The state of the flow in this daemon.
        topics_stale: Called when a pass over its topics is due at once.

    Attributes:
        resharded: Set once the recorded number of shards differs from the one in the flow file.
        moves: Set once the flow is ordered to copy from another source, or does so already.
    """

    def __init__(self, inputs: FlowInputs, run_state: RunState, topics_stale: Callable[[], None]) -> None:
        self.resharded = asyncio.Event()
        self.moves = asyncio.Event()
        self._inputs = inputs
        self._run_state = run_state
        self._topics_stale = topics_stale
        self._writers_changed = False

    def record(self, key: bytes) -> None:
        """React to a new record under a key."""
        if self._run_state.assembly is None:
            return
        uid = self._run_state.assembly.identity.uid
        if key == state.flow_key(uid):
            self.desired()
        if key.startswith(state.writer_key(uid)) and not self._writers_changed:
            # Once, after all records of a change: a switch of a thousand topics changes as many of them.
            self._writers_changed = True
            asyncio.get_running_loop().call_soon(self._writers, self._run_state.assembly)
        topic = self._run_state.assembly.sync.note_record(key)
        if topic is not None:
            self._run_state.assembly.reconciler.start_over(topic)
            self._topics_stale()

    def _writers(self, assembly: Assembly) -> None:
        """Stop at once the partitions that are being fenced; start over with those that may be copied (again)."""
        self._writers_changed = False
        before, writers = (
            assembly.pump.context.writers,
            state.writers_of(assembly.state_log.records, assembly.identity.uid),
        )
        if writers is None or writers == before:
            return
        assembly.pump.write_as(writers)
        changed = [
            slot
            for slot in assembly.pump.partitions.values()
            if writers.of(slot.target.topic) != before.of(slot.target.topic)
        ]
        names = sorted(topic for topic, own in writers.own.items() if own != before.of(topic))
        writer = writers.flow
        fields = {"role": writer.role, "epoch": writer.producer_epoch, "apart": names}
        log.warning("writer changed", flow=self._inputs.flow.name, **fields, always=True)
        assembly.reconciler.forget([slot for slot in changed if writers.copies(slot.target.topic)])
        for slot in changed:
            if not writers.copies(slot.target.topic):
                assembly.pump.fault(slot, Reason.FENCED, role_text(writers.of(slot.target.topic).role))
        self._topics_stale()

    def desired(self) -> None:
        """Pause or resume as the state topic says, whoever wrote the record."""
        assembly = self._run_state.assembly
        if assembly is None:
            return
        record = state.get_flow(assembly.state_log.records, assembly.identity.uid)
        if state.shards_of(record) != self._inputs.flow.shards:
            self.resharded.set()
        if record.HasField("repoint") or record.lineage_epoch != assembly.identity.lineage_epoch:
            self.moves.set()
        paused = record.desired == pb.DESIRED_PAUSED
        if paused == self._run_state.paused:
            return
        self._run_state.paused = paused
        log.info("flow paused" if paused else "flow resumed", flow=self._inputs.flow.name, actor=record.desired_actor)
        for slot in assembly.pump.partitions.values():
            if paused:
                assembly.pump.pause(slot)
            elif slot.copy.phase is Phase.PAUSED:
                assembly.pump.resume(slot)
