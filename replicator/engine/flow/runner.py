"""Runs one flow in one daemon, from opening its target to closing its last connection.

`picture` is the status it shows; `operations` are the questions and orders it takes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.tasks import lasting
from replicator.backoff import Backoff
from replicator.engine.flow.assembly.assemble import Assembly, assemble, silence_seconds
from replicator.engine.flow.assembly.inputs import FlowInputs
from replicator.engine.flow.assembly.run_state import RunState
from replicator.engine.flow.assembly.start_findings import StartFindings
from replicator.engine.flow.background.background import BackgroundWork
from replicator.engine.flow.background.cluster_watch import ClusterWatch
from replicator.engine.flow.background.following import Following
from replicator.engine.flow.background.topic_loop import TopicLoop
from replicator.engine.flow.background.watcher import PumpWatcher
from replicator.engine.flow.ending import why_ended
from replicator.engine.flow.operations import Operations
from replicator.engine.flow.picture import FlowPicture
from replicator.engine.lineage.follow import follow_lineage
from replicator.engine.state import records as state
from replicator.engine.state.ownership.identity import agree_on_shards, ensure_state_topic, establish
from replicator.engine.state.topic.log import StateLog
from replicator.engine.switch.context import SwitchContext
from replicator.engine.switch.keeper import SwitchKeeper
from replicator.engine.verify.continuous import verify_continuously
from replicator.errors import BugError, Conflict, FlowMoves, KafkaError, ReplicatorError, TimedOut, WrongCluster
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from replicator.engine.state.ownership.identity import FlowIdentity
    from replicator.engine.work.shards import Shard
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster

_START_PAUSE_SECONDS = (0.2, 4.0)
"""The longest is well below `SILENT_SECONDS`: until a target is open, it gets no other requests."""
_DRAIN_SECONDS = 4.0
_UID_SECONDS = 0.2

log = get_logger(__name__)


class FlowRunner:
    """One flow in one daemon.

    Args:
        inputs: What the flow works with.

    Attributes:
        picture: The flow's status.
        operations: Questions about the flow, and orders to it.
    """

    def __init__(self, inputs: FlowInputs) -> None:
        self._inputs = inputs
        self._run_state = run_state = RunState(inputs, StartFindings(inputs.flow.name))
        self._topics = TopicLoop(inputs, run_state)
        self._following = Following(inputs, run_state, self._topics.stale)
        self._watcher = PumpWatcher(inputs, run_state, self._partition_is_new, self._topics.stale)
        self.picture = FlowPicture(inputs, run_state)
        self.operations = Operations(inputs, run_state, self.picture, self._following)
        self._background: BackgroundWork | None = None
        self._bug: BaseException | None = None
        self._met_bug = asyncio.Event()

    @property
    def flow(self) -> FlowSpec:
        """Its policy."""
        return self._inputs.flow

    @property
    def reverse_name(self) -> str:
        """Name of the flow with both clusters swapped; empty if the file has none."""
        return self._inputs.reverse.name if self._inputs.reverse is not None else ""

    @property
    def uid(self) -> str | None:
        """The flow's uid; None while it is not known."""
        return self._run_state.uid

    @property
    def ended_because(self) -> str | None:
        """Why it ended without being stopped; None while it runs."""
        return self._run_state.ended_because

    def _switch_context(self, state_log: StateLog, uid: str) -> SwitchContext:
        return self._run_state.switch_context(state_log, uid, self.picture.copying)

    def _background_work(self) -> BackgroundWork:
        if self._background is None:
            raise BugError(f"flow {self.flow.name} has no background work before it is up")
        return self._background

    def _partition_is_new(self) -> None:
        self._background_work().unrecorded.set()

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. An unreachable cluster is retried; a wrong one raises.

        Raises:
            ReplicatorError: Something only an operator can fix.
            Exception: A bug.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting(self._until_bug))
            await self._patiently(self._open_target)
            await self._patiently(self._follow_lineage)
            group.create_task(lasting(self._watch(self._inputs.source, 0).run))
            group.create_task(lasting(self._watch(self._inputs.target, 1).run))
            group.create_task(lasting(self._run_state.log().follow))
            group.create_task(lasting(self._copy))
            group.create_task(lasting(self._switch))

    def end_over(self, bug: BaseException) -> None:
        """Make `run` raise an error of a callback or a stray task that belongs to this flow, and to nothing smaller."""
        if self._bug is None:
            self._bug = bug
            self._met_bug.set()

    async def _until_bug(self) -> None:
        await self._met_bug.wait()
        if self._bug is not None:
            raise self._bug

    def ended_over(self, error: BaseException) -> BaseException:
        """Note the error over which `run` has ended; return it."""
        self._run_state.ended_because = why_ended(error)
        return error

    def follows(self, before: FlowRunner) -> None:
        """Report why the previous runner of this flow ended, until this one is up."""
        self._run_state.problem = f"restarted; it had ended over: {before.ended_because}"

    def _watch(self, cluster: Cluster, side: int) -> ClusterWatch:
        """Return the watch over the source (0) or the target (1)."""
        kept = TopicPartition(STATE_TOPIC, 0)

        def in_use() -> Collection[int]:
            assembly = self._run_state.assembly
            nodes = assembly.pump.overview.nodes_in_use()[side] if assembly is not None else set()
            keeper = cluster.leader(kept) if cluster is self._inputs.target else None
            return nodes | {keeper.node} if keeper is not None else nodes

        def leaderless() -> Collection[TopicPartition]:
            assembly = self._run_state.assembly
            found = assembly.pump.overview.leaderless()[side] if assembly is not None else []
            return [*found, kept] if cluster is self._inputs.target and cluster.away(kept) is not None else found

        def lost() -> None:
            if self._run_state.assembly is not None:
                self._run_state.assembly.pump.leaders_stale(source=side == 0, target=side == 1)

        return ClusterWatch(self.flow.name, cluster, in_use, lost, leaderless)

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a step of the start, with retries while a cluster cannot be reached."""
        backoff = Backoff(*_START_PAUSE_SECONDS)
        while True:
            try:
                await work()
            except (KafkaError, TimedOut, Conflict) as error:
                if isinstance(error, KafkaError) and not error.retryable and not self._is_of_source(error):
                    raise
                if self._run_state.met(error):
                    log.warning("flow cannot start yet", flow=self.flow.name, why=str(error), next=error.next_step)
            else:
                return
            await asyncio.sleep(backoff.next_seconds())

    def _is_of_source(self, error: KafkaError) -> bool:
        """Return whether a wrong cluster responds as the source: nothing is copied, but the target can be opened."""
        return isinstance(error, WrongCluster) and error.cluster == self.flow.source

    async def _open_target(self) -> None:
        """Open the target and read what is recorded there; the source need not be reachable."""
        await self._inputs.target.open()
        await ensure_state_topic(self._inputs.target, self._inputs.admins[1])
        state_log = StateLog(self._inputs.target)
        await state_log.read_to_end()
        self._run_state.state_log = state_log

    async def _follow_lineage(self) -> None:
        """Return if the flow copies from this source; an order to move it is carried out first (`follow_lineage`)."""
        inputs = self._inputs
        silence = silence_seconds(inputs.coordinator, inputs.target.spec)
        log_, tell = self._run_state.log(), self._report_waiting
        await follow_lineage(self.flow, inputs.between, inputs.target, log_, silence, tell)

    async def _switch(self) -> None:
        """Carry out switches, also while the source is unreachable, if the flow has ever been started."""
        uid, seen = None, None
        while uid is None:
            now = self._run_state.log().position, self._inputs.source.cluster_id, self._run_state.assembly is None
            if now != seen:  # it searches all records: not to be repeated for ever while the source stays unknown
                seen, uid = now, self._run_state.uid
            if uid is None:
                await asyncio.sleep(_UID_SECONDS)
        self._run_state.switches = SwitchKeeper(self._switch_context(self._run_state.log(), uid))
        await self._run_state.switches.run()

    async def _copy(self) -> None:
        await self._patiently(self._start)
        assembly = self._run_state.up()
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting(assembly.pump.run))
            group.create_task(lasting(assembly.presence.run))
            group.create_task(lasting(assembly.leases.run))
            group.create_task(lasting(assembly.shards.run, assembly.leases))
            for shard in assembly.shards.shards:
                group.create_task(lasting(shard.claim.run))
            group.create_task(lasting(self._stop_when_resharded))
            group.create_task(lasting(self._stop_when_moved))
            group.create_task(lasting(self._topics.run, assembly))
            self._background_work().begin(group)
            group.create_task(lasting(verify_continuously, self.flow, assembly.pump))
            group.create_task(lasting(assembly.groups.run))

    async def _start(self) -> None:
        inputs, run_state = self._inputs, self._run_state
        await asyncio.gather(inputs.source.open(), self._topics.read_guard())
        await self._follow_lineage()
        if inputs.source.cluster_id == inputs.target.cluster_id:
            raise WrongCluster(
                f"flow {self.flow.name!r} would feed itself",
                cluster=self.flow.target,
                why=f"{self.flow.source} and {self.flow.target} are the same cluster, {inputs.source.cluster_id}",
                next_step=f"correct the bootstrap of {self.flow.source} or of {self.flow.target}",
            )
        state_log = run_state.log()
        await state_log.read_to_end()
        inputs.between.check_source(state_log.records)
        known = run_state.uid
        if known is not None:
            await run_state.found.check_role(self._switch_context(state_log, known))
        identity = await establish(
            self.flow,
            inputs.source.cluster_id or "",
            inputs.target,
            state_log,
            inputs.me.instance,
        )
        silence = silence_seconds(inputs.coordinator, inputs.target.spec)
        await agree_on_shards(self.flow, identity.uid, inputs.target, state_log, silence, self._report_waiting)
        assembly = self._assemble(identity, state_log)
        inputs.between.note()
        await run_state.found.check_switches(self._switch_context(state_log, identity.uid))
        run_state.assembly = assembly
        state_log.listen(self._following.record)
        self._following.desired()
        run_state.works()
        log.info(
            "flow up",
            flow=self.flow.name,
            uid=identity.uid,
            fresh=identity.fresh,
            shards=len(assembly.shards.shards),
        )

    def _assemble(self, identity: FlowIdentity, state_log: StateLog) -> Assembly:
        """Assemble the flow, not running yet, with its background work; return the assembly."""
        inputs = self._inputs
        assembly = assemble(
            inputs,
            identity,
            state_log,
            self._watcher,
            self._drain_shard,
            self._shards_changed,
            lambda shard: self._background_work().of(shard),
        )
        self._background = BackgroundWork(
            self.flow,
            inputs.me.instance,
            inputs.target,
            assembly,
            lambda: _copies(assembly),
            self.picture.status,
            self._topics.pass_due.set,
        )
        return assembly

    def _report_waiting(self, why: str) -> None:
        if self._run_state.problem != why:
            log.warning("flow waits", flow=self.flow.name, why=why)
        self._run_state.problem = why

    async def stop(self, seconds: float) -> bool:
        """Hand off what others can take over and drain the rest; return whether every response came.

        Call it before `run` is cancelled.
        """
        assembly = self._run_state.assembly
        return True if assembly is None else await assembly.shards.end(seconds)

    async def close(self) -> None:
        """Close every connection; call it after `run` has ended."""
        if self._run_state.assembly is not None:
            self._run_state.assembly.pump.close()
        await self._inputs.close()

    async def _drain_shard(self, shard: Shard) -> bool:
        """Stop a shard's partitions, and record what only the holder of its claim still can."""
        assembly = self._run_state.up()
        slots = [slot for slot in assembly.pump.partitions.values() if slot.shard is shard]
        drained = await assembly.pump.drain(slots, _DRAIN_SECONDS, "handed over")
        try:
            await self._background_work().record_ends_once([shard])
        except ReplicatorError as error:
            log.warning("source ends not recorded", flow=self.flow.name, why=str(error))
        assembly.reconciler.forget(slots)
        return drained

    async def _stop_when_resharded(self) -> None:
        await self._following.resharded.wait()
        raise Conflict(
            f"flow {self.flow.name!r} no longer has the {self.flow.shards} shards of this file",
            why="another daemon of the flow was started with a different file while this one seemed to be gone",
            next_step="give all daemons of the flow the same `shards`, and restart this one",
        )

    async def _stop_when_moved(self) -> None:
        """Give everything back before the flow starts again with another source: its other daemons wait for that."""
        await self._following.moves.wait()
        await self._run_state.up().shards.end(_DRAIN_SECONDS)
        raise FlowMoves(f"flow {self.flow.name!r} is being moved to another source")

    def _shards_changed(self) -> None:
        """Start the partitions of shards that have become ours."""
        if self._run_state.assembly is not None and self._run_state.passed_once:
            self._run_state.assembly.pump.start(self._topics.reconcile(self._run_state.assembly))


def _copies(assembly: Assembly) -> bool:
    return state.standing_role(assembly.state_log.records, assembly.identity.uid) is None
