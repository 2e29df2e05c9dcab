"""Keeps the topics of one flow in sync, pass after pass, and its partitions with them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from replicator.core.copy.writing.producer_memory import SETTINGS, ProducerMemory, producer_memory, spread
from replicator.engine.state import records as state
from replicator.engine.switch.steps.settings import OpenedSettingsCheck
from replicator.engine.work.fence import role_text
from replicator.errors import AuthorizationFailed, ReplicatorError
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from replicator.engine.flow.assembly.assemble import Assembly
    from replicator.engine.flow.assembly.inputs import FlowInputs
    from replicator.engine.flow.assembly.run_state import RunState

_NAMES_EVERY_SECONDS = 5.0
_CONFIGS_EVERY_SECONDS = 30.0
_STALE_PAUSE_SECONDS = 0.5
_GUARD_MARGIN_MS = 3_600_000

log = get_logger(__name__)


class TopicLoop:
    """Makes passes over the topics of one flow.

    Args:
        inputs: What the flow works with.
        run_state: The state of the flow in this daemon.

    Attributes:
        pass_due: Set to start the next pass at once.
    """

    def __init__(self, inputs: FlowInputs, run_state: RunState) -> None:
        self._inputs = inputs
        self._run_state = run_state
        self.pass_due = asyncio.Event()
        self._stale = False
        self._memory: ProducerMemory | None = None

    async def run(self, assembly: Assembly) -> None:
        """Keep the topics in sync until cancelled."""
        loop = asyncio.get_running_loop()
        self._run_state.opened = opened = OpenedSettingsCheck(
            assembly.identity.uid, self._inputs.source, self._inputs.admins, assembly.state_log
        )
        configs_at = 0.0
        while True:
            configs = loop.time() >= configs_at or self._stale
            self._stale = False
            self.pass_due.clear()
            try:
                await opened.check()
                if self._stands_by(assembly):
                    assembly.sync.stand_by()
                    self._run_state.passed_once = True
                    await self._until_stale()
                    continue
                if configs:
                    await self.read_guard()
                    configs_at = loop.time() + _CONFIGS_EVERY_SECONDS
                if await assembly.sync.run_pass(configs=configs):
                    await self.reconcile(assembly)
                self._run_state.passed_once = True
            except ReplicatorError as error:
                if self._run_state.met(error):
                    log.warning("topics not in step", flow=self._inputs.flow.name, why=str(error), next=error.next_step)
            else:
                self._run_state.works()
            await self._until_stale()

    async def _until_stale(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NAMES_EVERY_SECONDS):
                await self.pass_due.wait()
            await asyncio.sleep(_STALE_PAUSE_SECONDS)

    def _stands_by(self, assembly: Assembly) -> bool:
        """Return whether the target is the open side: then we must not change anything there."""
        role = state.standing_role(assembly.state_log.records, assembly.identity.uid)
        if role is None:
            return False
        way_back = f"it is the way back of {self._inputs.flow.reverse_of}: " if self._inputs.flow.reverse_of else ""
        self._run_state.problem = f"stands by, {way_back}{role_text(role)} ({role})"
        return True

    async def reconcile(self, assembly: Assembly) -> None:
        """Start the partitions that are to be copied here, and stop the others."""
        await assembly.reconciler.apply(assembly.sync.mirrors.values(), self._guard_ms, lambda: self._run_state.paused)

    async def read_guard(self) -> None:
        """Read how long the target's brokers remember producers; assume Kafka's default for those that do not say."""
        try:
            memory = producer_memory(await self._inputs.admins[1].each_broker_configs(SETTINGS))
        except AuthorizationFailed as error:
            if self._memory is None:
                log.warning("the guard's setting is not known, 24 h assumed", why=str(error), next=error.next_step)
            memory = ProducerMemory({})
        memory = memory.and_before(self._memory)
        if memory.differs and (self._memory is None or memory.by_broker != self._memory.by_broker):
            log.warning(
                "brokers of the target remember producers for different times, the shortest counts",
                flow=self._inputs.flow.name,
                setting=memory.setting,
                why=spread(memory),
                next=f"give all brokers of {self._inputs.flow.target} the same {memory.setting}",
            )
        self._memory = memory

    @property
    def _guard_ms(self) -> int:
        """The record age up to which the target itself refuses duplicates; 0 until it has been asked."""
        return 0 if self._memory is None else self._memory.shortest_ms - _GUARD_MARGIN_MS

    def stale(self) -> None:
        """Start a pass at once: a topic may have been deleted or re-created."""
        self._stale = True
        self.pass_due.set()
