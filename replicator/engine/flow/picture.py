"""The picture of one flow in this daemon, and of the whole flow, for status."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.status.whole_flow import elsewhere, has_parts_elsewhere, merged
from replicator.engine.flow.copying import PartsCopying
from replicator.engine.flow.status import Silent, at_rest, flow_status, told_once
from replicator.errors import DamagedRecord, ReplicatorError
from replicator.model.states import FlowState
from replicator.model.status import ClusterStatus, FlowStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.flow.inputs import FlowInputs
    from replicator.engine.flow.standing import Standing


class FlowPicture:
    """What one flow shows.

    Args:
        inputs: What it works with.
        standing: How it stands.
    """

    def __init__(self, inputs: FlowInputs, standing: Standing) -> None:
        self._inputs = inputs
        self._standing = standing
        self._meant: FlowState | None = None

    async def status(self) -> FlowStatus:
        """Return the picture of this flow now."""
        parts = self._standing.parts
        now = asyncio.get_running_loop().time()
        clusters = self._clusters(now)
        shown = self._state(clusters)
        picture = await flow_status(
            shown,
            self._inputs.flow,
            uid=parts.identity.uid if parts else None,
            mirrors=parts.sync.mirrors if parts else {},
            pump=parts.pump if parts else None,
            paused=self._standing.paused,
            trouble=self._reason(shown, clusters),
            coordinator_answers=parts.leases.answers if parts else None,
            clusters=clusters,
            silent=Silent(self._inputs.source.seen.silent(now), self._inputs.target.seen.silent(now)),
            chosen=parts.sync.chosen if parts else None,
        )
        return picture if self._standing.ended_because is None else at_rest(picture)

    def _clusters(self, now: float) -> tuple[ClusterStatus, ...]:
        """Return what is known of both clusters; nothing of those that nobody looks at any more."""
        sides = (self._inputs.source, self._inputs.target)
        if self._standing.ended_because is not None:
            return tuple(ClusterStatus(side.spec.alias, None) for side in sides)
        return tuple(side.seen.status(side.spec.alias, now) for side in sides)

    def _state(self, clusters: Sequence[ClusterStatus]) -> FlowState:
        """Return which state the flow shows: by its switches and its writer's role, and by what answers."""
        if self._standing.ended_because is not None:
            return FlowState.FAULTED
        if self._standing.switches is None:
            meant = FlowState.PAUSED if self._standing.paused else FlowState.ACTIVE
        else:
            try:
                meant = self._meant = self._standing.switches.state(paused=self._standing.paused)
            except DamagedRecord:  # which the reason tells; what is copied goes on, and what stands by stays there
                meant = self._meant or (FlowState.PAUSED if self._standing.paused else FlowState.ACTIVE)
        if meant is not FlowState.ACTIVE:
            return meant
        if any(cluster.up is False for cluster in clusters):
            return FlowState.UNREACHABLE
        return (
            FlowState.ACTIVE if self._standing.parts is not None and self._standing.passed_once else FlowState.STARTING
        )

    def _reason(self, shown: FlowState, clusters: Sequence[ClusterStatus]) -> str | None:
        """Return all that an operator should know of a flow beside the figures."""
        if self._standing.ended_because is not None:
            return self._standing.ended_because
        lost = self._standing.state_log.topic.lost if self._standing.state_log is not None else None
        try:
            under_way = self._standing.switches.under_way if self._standing.switches is not None else None
        except DamagedRecord as error:
            under_way = error.with_next_step()
        told = [lost, *self._standing.found.texts(), under_way]
        told.append(self._standing.opened.untold if self._standing.opened is not None else None)
        beside = len(told)  # none of these explains what the flow waits for
        told += [cluster.trouble for cluster in clusters]
        told += self._throttled()
        parts = self._standing.parts
        if parts is not None:
            down = tuple(f"{cluster.cluster} broker " for cluster in clusters if cluster.up is False)
            troubles = sorted(parts.pump.overview.present_problems().items())
            told += [f"{place}: {why}" for place, why in troubles if not place.startswith(down)]
            told += [*parts.shards.problems(), parts.acls.trouble]
        if (
            shown is not FlowState.UNREACHABLE
            and not any(told[beside:])
            and self._standing.trouble != self._standing.found.wrong_cluster
        ):
            told.append(self._standing.trouble)
        state_log = self._standing.state_log
        return told_once(told, lost, state_log.topic.is_gone if state_log is not None else "")

    def _throttled(self) -> list[str]:
        """Return which side is slow because it asks for pauses: that is no fault, and waiting is all that helps."""
        now = asyncio.get_running_loop().time()
        sides = (("source", self._inputs.source), ("target", self._inputs.target))
        told = ((side, cluster.seen.throttled(cluster.spec.alias, now)) for side, cluster in sides)
        return [f"throttled by the {side}: {text}" for side, text in told if text is not None]

    async def whole_status(self) -> FlowStatus:
        """Return the picture of the whole flow, with what the daemons tell that copy other parts of it."""
        return await self.whole_of(await self.status())

    async def whole_of(self, mine: FlowStatus) -> FlowStatus:
        """Return the same, where its own picture is there already."""
        names = sorted(elsewhere(mine) - {self._inputs.me.instance})
        parts = self._standing.parts
        if parts is None or not has_parts_elsewhere(mine):
            return mine
        asked = await asyncio.gather(
            *(self._inputs.peers.status(parts.presence.address(name), self._standing.asked(parts)) for name in names),
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

    def copying(self) -> PartsCopying | None:
        """Return what the copying tells whoever carries out a switch; None while the flow is not up here."""
        standing = self._standing
        if standing.parts is None:
            return None
        return PartsCopying(standing.parts, lambda: standing.paused, self.whole_status)
