"""Which state a flow shows, from its journal and its writer's role; and what a role of one mirror means beside it."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core.attach_facts import Role
from replicator.model.states import FlowState
from replicator.model.switch import Direction, Journal, Outcome, StepName, Switches, Verb

_OPEN = {Verb.SWITCHOVER: FlowState.SWITCHED_OVER, Verb.FAILOVER: FlowState.FAILED_OVER}


@dataclass(frozen=True, slots=True)
class Right:
    """What a writer record, or a mirror's own, allows.

    Attributes:
        role: Copying, or not (any more).
        epoch: Producer epoch to write with.
    """

    role: Role
    epoch: int


_STRICTNESS = {Role.COPYING: 0, Role.FENCING: 1, Role.PROMOTED: 2}


def effective(flow: Right, mirror: Right | None) -> Right:
    """Return what holds for one mirror: the stricter role, the higher epoch.

    A switch of chosen topics leaves the flow's record alone and fences those mirrors only, under an epoch that no
    partition has seen. The others go on with the flow's epoch. A mirror that is copied to again after such a fence
    writes with the epoch it was fenced under, for its partitions refuse every lower one.
    """
    if mirror is None:
        return flow
    role = max(flow.role, mirror.role, key=_STRICTNESS.__getitem__)
    return Right(role, max(flow.epoch, mirror.epoch))


def fence_epoch(flow: Right, mirrors: tuple[Right, ...], coordinator_epoch: int = -1) -> int:
    """Return the epoch of a new fence, of the flow or of some mirrors: one that no partition has seen.

    Args:
        flow: The writer record.
        mirrors: Rights of all mirrors that have one of their own, in scope or not.
        coordinator_epoch: The epoch that the transaction coordinator gives for the data id, where it was asked.
    """
    return max(flow.epoch, coordinator_epoch - 1, *(mirror.epoch for mirror in mirrors)) + 1


def flow_state(switches: Switches, role: Role, *, paused: bool) -> FlowState:
    """Return the state that a flow shows.

    A switch of chosen topics leaves its flow as it is; those mirrors are STOPPED with reason `fenced`.
    """
    running = switches.running
    if running is not None and not running.topics:
        shown = _while_running(running, role)
        if shown is not None:
            return shown
    if role is Role.COPYING:
        return FlowState.PAUSED if paused else FlowState.ACTIVE
    last = _last_opened(switches)
    if last is None or role is Role.FENCING:
        return FlowState.FENCED
    return _OPEN[last.verb]


def _while_running(journal: Journal, role: Role) -> FlowState | None:
    if journal.verb is Verb.FAILBACK:
        return FlowState.FAILING_BACK
    if journal.did(StepName.OPEN_TARGET):
        return _OPEN[journal.verb]
    if role is not Role.COPYING:
        return FlowState.FENCED
    closed = journal.verb is Verb.SWITCHOVER and journal.did(StepName.PREFLIGHT)
    return FlowState.DRAINING if closed and journal.direction is Direction.FORWARD else None


def _last_opened(switches: Switches) -> Journal | None:
    """Return the last switch that opened the target of the whole flow."""
    opened = [
        journal
        for journal in switches.all
        if journal.outcome is Outcome.DONE and journal.verb is not Verb.FAILBACK and not journal.topics
    ]
    return opened[-1] if opened else None
