"""Which state a flow shows, from its journal and its writer's role."""

from __future__ import annotations

from replicator.core.copy.attaching.facts import Role
from replicator.model.status.states import FlowState
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Direction, Outcome, StepName, Verb

# A switch of a newer version, with an unknown verb, counts as between its sides.
_OPEN = {Verb.SWITCHOVER: FlowState.SWITCHED_OVER, Verb.FAILOVER: FlowState.FAILED_OVER}


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
    return _OPEN.get(last.verb, FlowState.FENCED)


def _while_running(journal: Journal, role: Role) -> FlowState | None:
    if journal.verb is Verb.FAILBACK:
        return FlowState.FAILING_BACK
    if journal.did(StepName.OPEN_TARGET):
        return _OPEN.get(journal.verb, FlowState.FENCED)
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
