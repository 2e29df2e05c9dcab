"""The status of one flow in this daemon, and of the whole flow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.status.whole_flow import elsewhere, has_parts_elsewhere, merged
from replicator.engine.flow.copying import FlowCopying
from replicator.engine.flow.status import SilentBrokers, at_rest, flow_status, joined_problems
from replicator.errors import DamagedRecord, ReplicatorError
from replicator.model.status.snapshots import ClusterStatus, FlowStatus
from replicator.model.status.states import FlowState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.flow.assembly.inputs import FlowInputs
    from replicator.engine.flow.assembly.run_state import RunState


class FlowPicture:
    """Puts together the status of one flow.

    Args:
        inputs: What the flow works with.
        run_state: The state of the flow in this daemon.
    """

    def __init__(self, inputs: FlowInputs, run_state: RunState) -> None:
        self._inputs = inputs
        self._run_state = run_state
        self._intended: FlowState | None = None

    async def status(self) -> FlowStatus:
        """Return the status of this flow now, as this daemon knows it."""
        assembly = self._run_state.assembly
        now = asyncio.get_running_loop().time()
        clusters = self._clusters(now)
        shown = self._state(clusters)
        picture = await flow_status(
            shown,
            self._inputs.flow,
            uid=assembly.identity.uid if assembly else None,
            mirrors=assembly.sync.mirrors if assembly else {},
            pump=assembly.pump if assembly else None,
            paused=self._run_state.paused,
            reason=self._reason(shown, clusters),
            coordinator_answers=assembly.leases.answers if assembly else None,
            clusters=clusters,
            silent=SilentBrokers(self._inputs.source.seen.silent(now), self._inputs.target.seen.silent(now)),
            chosen=assembly.sync.chosen if assembly else None,
        )
        return picture if self._run_state.ended_because is None else at_rest(picture)

    def _clusters(self, now: float) -> tuple[ClusterStatus, ...]:
        """Return what is known about both clusters; nothing if the flow has ended and nobody watches them."""
        sides = (self._inputs.source, self._inputs.target)
        if self._run_state.ended_because is not None:
            return tuple(ClusterStatus(side.spec.alias, None) for side in sides)
        return tuple(side.seen.status(side.spec.alias, now) for side in sides)

    def _state(self, clusters: Sequence[ClusterStatus]) -> FlowState:
        """Return the state that the flow shows, from its switches, its writer's role, and the clusters that respond."""
        if self._run_state.ended_because is not None:
            return FlowState.FAULTED
        if self._run_state.switches is None:
            intended = FlowState.PAUSED if self._run_state.paused else FlowState.ACTIVE
        else:
            try:
                intended = self._intended = self._run_state.switches.state(paused=self._run_state.paused)
            except DamagedRecord:  # the reason reports it; the flow continues to copy, or to stand by
                intended = self._intended or (FlowState.PAUSED if self._run_state.paused else FlowState.ACTIVE)
        if intended is not FlowState.ACTIVE:
            return intended
        if any(cluster.up is False for cluster in clusters):
            return FlowState.UNREACHABLE
        is_up = self._run_state.assembly is not None and self._run_state.passed_once
        return FlowState.ACTIVE if is_up else FlowState.STARTING

    def _reason(self, shown: FlowState, clusters: Sequence[ClusterStatus]) -> str | None:
        """Return everything that an operator should know about a flow besides the figures."""
        if self._run_state.ended_because is not None:
            return self._run_state.ended_because
        lost = self._run_state.state_log.topic.lost if self._run_state.state_log is not None else None
        try:
            under_way = self._run_state.switches.under_way if self._run_state.switches is not None else None
        except DamagedRecord as error:
            under_way = error.with_next_step()
        texts = [lost, *self._run_state.found.texts(), under_way]
        texts.append(self._run_state.opened.problem if self._run_state.opened is not None else None)
        beside = len(texts)  # none of these explains what the flow waits for
        texts += [cluster.trouble for cluster in clusters]
        texts += self._throttled()
        assembly = self._run_state.assembly
        if assembly is not None:
            down = tuple(f"{cluster.cluster} broker " for cluster in clusters if cluster.up is False)
            problems = sorted(assembly.pump.overview.present_problems().items())
            texts += [f"{subject}: {why}" for subject, why in problems if not subject.startswith(down)]
            texts += [*assembly.shards.problems(), assembly.acls.problem]
        if (
            shown is not FlowState.UNREACHABLE
            and not any(texts[beside:])
            and self._run_state.problem != self._run_state.found.wrong_cluster
        ):
            texts.append(self._run_state.problem)
        state_log = self._run_state.state_log
        return joined_problems(texts, lost, state_log.topic.is_gone if state_log is not None else "")

    def _throttled(self) -> list[str]:
        """Return which side throttles us: that is not a fault, and only waiting helps."""
        now = asyncio.get_running_loop().time()
        sides = (("source", self._inputs.source), ("target", self._inputs.target))
        texts = ((side, cluster.seen.throttled(cluster.spec.alias, now)) for side, cluster in sides)
        return [f"throttled by the {side}: {text}" for side, text in texts if text is not None]

    async def whole_status(self) -> FlowStatus:
        """Return the status of the whole flow, including what the daemons report that copy other parts of it."""
        return await self.whole_of(await self.status())

    async def whole_of(self, mine: FlowStatus) -> FlowStatus:
        """Return the status of the whole flow, given this daemon's own."""
        names = sorted(elsewhere(mine) - {self._inputs.me.instance})
        assembly = self._run_state.assembly
        if assembly is None or not has_parts_elsewhere(mine):
            return mine
        asked = await asyncio.gather(
            *(
                self._inputs.peers.status(assembly.presence.address(name), self._run_state.asked(assembly))
                for name in names
            ),
            return_exceptions=True,
        )
        others: list[FlowStatus] = []
        silent: dict[str, str] = {}
        for name, answer in zip(names, asked, strict=True):
            if isinstance(answer, FlowStatus):
                others.append(answer)
            elif isinstance(answer, ReplicatorError):
                silent[name] = str(answer)
            else:
                raise answer
        return await asyncio.to_thread(merged, mine, others, silent)

    def copying(self) -> FlowCopying | None:
        """Return what a switch may ask about the copying; None while the flow is not up here."""
        run_state = self._run_state
        if run_state.assembly is None:
            return None
        return FlowCopying(run_state.assembly, lambda: run_state.paused, self.whole_status)
