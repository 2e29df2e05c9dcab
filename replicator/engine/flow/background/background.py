"""Recurring work beside the copying of one flow: recording, watching, reporting."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from replicator.aio.tasks import lasting
from replicator.core.status.progress import CatchingUp, Progress
from replicator.engine.offsets.source_end_reader import SourceEndReader
from replicator.engine.work.fence import keep_data_id_alive
from replicator.errors import ReplicatorError
from replicator.model.spec import Isolation
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from replicator.engine.flow.assembly.assemble import Assembly
    from replicator.engine.work.shards import Shard
    from replicator.model.spec import FlowSpec
    from replicator.model.status.snapshots import FlowStatus, PartitionStatus
    from replicator.wire.cluster import Cluster

_SOURCE_ENDS_EVERY_SECONDS = 5.0
_FOLLOW_EVERY_SECONDS = 5.0
_LOG_STARTS_EVERY_SECONDS = 30.0
_TARGET_ENDS_EVERY_SECONDS = 5.0
_OPEN_TRANSACTIONS_EVERY_SECONDS = 5.0
_SOURCE_ENDS_EVERY_SECONDS = 2.0
_RECORD_PAUSE_SECONDS = 0.2
_PROGRESS_EVERY_SECONDS = 5.0
_DATA_ID_EVERY_SECONDS = 600.0
_ACLS_EVERY_SECONDS = 30.0
_ACLS_FIRST_SECONDS = 1.0

log = get_logger(__name__)


class BackgroundWork:
    """The background work of one flow in one daemon.

    Attributes:
        unrecorded: Set when something about a mirror has to be recorded.

    Args:
        flow: The flow's policy.
        me: This daemon.
        target: The flow's target.
        assembly: What the flow is made of.
        copies: Returns whether the flow copies now, according to its writer record.
        status: Returns what this daemon knows about the flow.
        check: Called when a pass over topics is due at once.
    """

    def __init__(
        self,
        flow: FlowSpec,
        me: str,
        target: Cluster,
        assembly: Assembly,
        copies: Callable[[], bool],
        status: Callable[[], Awaitable[FlowStatus]],
        check: Callable[[], None],
    ) -> None:
        self.unrecorded = asyncio.Event()
        self._flow = flow
        self._me = me
        self._target = target
        self._assembly = assembly
        self._copies = copies
        self._status = status
        self._check = check
        self._acls_synced = False

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Start all of it as tasks of a group."""
        for work in (
            self._record,
            self._record_source_ends,
            self._refresh_source_ends,
            self._watch_log_starts,
            self._watch_target_ends,
            self._watch_open_transactions,
            self._log_progress,
        ):
            group.create_task(lasting(work))

    def of(self, shard: Shard) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return the work to do while working on a shard; work that is done once per flow goes with the first shard."""
        return (self._keep_data_id, self._sync_acls) if shard.number == 0 else ()

    async def _record(self) -> None:
        """Write newly active partitions and leader epochs, many at a time."""
        assembly = self._assembly
        while True:
            await self.unrecorded.wait()
            await asyncio.sleep(_RECORD_PAUSE_SECONDS)
            self.unrecorded.clear()
            for slot in assembly.pump.partitions.values():
                mirror = assembly.sync.mirrors.get(slot.source.topic)
                if mirror is None:
                    continue
                if slot.recorded.active:
                    mirror.active.add(slot.source.partition)
                if slot.copy.reading.last_epoch >= 0:
                    mirror.epochs[slot.source.partition] = slot.copy.reading.last_epoch
            try:
                await assembly.sync.records.write()
            except ReplicatorError as error:
                log.warning("state not recorded", flow=self._flow.name, why=str(error))
                await asyncio.sleep(1.0)
                self.unrecorded.set()
                continue
            if assembly.sync.mark_seeded():
                self._check()

    async def _record_source_ends(self) -> None:
        while True:
            await asyncio.sleep(_SOURCE_ENDS_EVERY_SECONDS)
            try:
                await self.record_ends_once(self._assembly.shards.shards)
            except ReplicatorError as error:
                log.debug("source ends not recorded", flow=self._flow.name, why=str(error))

    async def _refresh_source_ends(self) -> None:
        reader = SourceEndReader(self._assembly.pump)
        while True:
            await asyncio.sleep(_SOURCE_ENDS_EVERY_SECONDS)
            await reader.refresh()

    async def record_ends_once(self, shards: Collection[Shard]) -> None:
        """Record what only the holder of a shard's claim knows for certain, or may write."""
        assembly = self._assembly
        ours = {shard for shard in shards if shard.works and shard.claim.holder == self._me}
        slots = [slot for slot in assembly.pump.partitions.values() if slot.shard in ours]
        if not slots:
            return
        await assembly.pump.persist_maps(ours)
        await assembly.source_ends.record(assembly.pump, ours)
        if any(
            slot.copy.reading.last_epoch
            > assembly.sync.mirrors[slot.source.topic].epochs.get(slot.source.partition, -1)
            for slot in slots
            if slot.source.topic in assembly.sync.mirrors
        ):
            self.unrecorded.set()

    async def _watch_log_starts(self) -> None:
        assembly = self._assembly
        while True:
            await asyncio.sleep(_FOLLOW_EVERY_SECONDS if self._flow.follow_log_start else _LOG_STARTS_EVERY_SECONDS)
            await assembly.checks.log_starts.check()

    async def _watch_target_ends(self) -> None:
        while True:
            await asyncio.sleep(_TARGET_ENDS_EVERY_SECONDS)
            await self._assembly.checks.target_ends.check()

    async def _watch_open_transactions(self) -> None:
        assembly = self._assembly
        if assembly.pump.context.isolation is Isolation.READ_UNCOMMITTED:
            return  # a copy of uncommitted records waits for no transaction
        while True:
            await asyncio.sleep(_OPEN_TRANSACTIONS_EVERY_SECONDS)
            await assembly.checks.open_transactions.check()

    async def _keep_data_id(self) -> None:
        """Use the data producer id once a day, so that the target does not forget it."""
        assembly = self._assembly
        while True:
            await asyncio.sleep(_DATA_ID_EVERY_SECONDS)
            try:
                if self._copies():
                    now_ms = time.time_ns() // 1_000_000
                    await keep_data_id_alive(self._target, assembly.state_log, assembly.identity.uid, now_ms)
            except ReplicatorError as error:
                log.warning("the data id could not be used", flow=self._flow.name, why=str(error), next=error.next_step)

    async def _sync_acls(self) -> None:
        """Keep the target's ACLs in sync while it is the passive side."""
        assembly = self._assembly
        while assembly.acls.wanted:
            await asyncio.sleep(_ACLS_EVERY_SECONDS if self._acls_synced else _ACLS_FIRST_SECONDS)
            try:
                if not assembly.sync.mirrors or not self._copies():
                    continue
                await assembly.acls.round()
                self._acls_synced = True
            except ReplicatorError as error:
                assembly.acls.problem = f"rules do not follow: {error}"
                log.warning("rules not in step", flow=self._flow.name, why=str(error), next=error.next_step)

    async def _log_progress(self) -> None:
        """Log one line per flow while it is catching up, and one whenever the set of stalled partitions changes."""
        assembly = self._assembly
        loop = asyncio.get_running_loop()
        progress = Progress(loop.time())
        name = self._flow.name
        while True:
            await asyncio.sleep(_PROGRESS_EVERY_SECONDS)
            pump = assembly.pump
            totals, lag = pump.context.counters.totals, pump.overview.lag_records()
            moved = totals.records + totals.filled
            partitions: list[PartitionStatus] = []
            if lag or progress.is_stopped or not pump.overview.all_copying():
                # Not while all is well: building the status is most of what a thousand idle partitions cost.
                mirrors = (await self._status()).mirrors
                partitions = [
                    one for mirror in mirrors for one in mirror.partitions if one.reason is not Reason.HELD_ELSEWHERE
                ]
            for news in progress.observe(partitions, moved, lag, loop.time()):
                if isinstance(news, CatchingUp):
                    log.info("catching up", flow=name, **asdict(news))
                else:
                    log.warning(str(news), flow=name, next=f"replicator mirror list {name}")
