"""What an operator can do next about a switch, as commands that work at the step it has reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.switch.machine.machine import may_be_undone
from replicator.model.switch.terms import Decision, Direction, Outcome, StepName, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.model.switch.journal import Journal


def command(verb: Verb, flow: str, topics: Iterable[str] = ()) -> str:
    """Return the command that orders a switch of a flow, or of some of its topics."""
    return " ".join([f"replicator {verb} {flow}", *(f"--topics {topic}" for topic in topics)])


def status_command(flow: str) -> str:
    """Return the command that shows the switch of a flow."""
    return f"replicator switch status {flow}"


def beside(running: Journal) -> str:
    """Return what an operator can do who wants a different switch than the running one."""
    if running.direction is not Direction.FORWARD:
        return f"wait until it is undone: {status_command(running.flow)}"
    if may_be_undone(running):
        return f"{status_command(running.flow)}; or replicator switch abort {running.flow}"
    return f"wait until it has ended, it can no longer be undone: {status_command(running.flow)}"


def instead_of_abort(journal: Journal) -> str:
    """Return what helps if a switch can no longer be undone."""
    flow = journal.flow
    if journal.verb is Verb.FAILBACK:
        return f"let it go on ({status_command(flow)}); to move the flow again afterwards: {_again(journal)}"
    back = command(Verb.FAILBACK, flow, journal.topics)
    if _has_way_back(journal):
        return (
            f"let it go on, then {back}; if its target is lost: replicator switch abort {flow} --target-lost, which "
            "reopens the source"
        )
    return f"let it go on ({status_command(flow)}), then {back}"


def after_the_end(journal: Journal) -> str:
    """Return what an operator can do who wants to undo a finished switch."""
    if journal.outcome is Outcome.DONE and journal.verb is not Verb.FAILBACK:
        return f"to come back from it: {command(Verb.FAILBACK, journal.flow, journal.topics)}"
    if journal.outcome is Outcome.DONE:
        return f"to move the flow again: {_again(journal)}"
    return status_command(journal.flow)


def source_was_written_to(journal: Journal) -> str:
    """Return what helps if a source was written to after the fence; a switchover must not lose that."""
    failover = command(Verb.FAILOVER, journal.flow, journal.topics)
    if not _has_way_back(journal):
        return f"{failover}, which shows what is lost"
    return (
        f"replicator switch abort {journal.flow} --target-lost, which reopens the source and loses nothing; or "
        f"{failover}, which shows what is lost"
    )


def _has_way_back(journal: Journal) -> bool:
    offered = journal.verb is Verb.SWITCHOVER and journal.options.way_back and not journal.is_copy
    return offered and not journal.did(StepName.GIVE_UP_WAY_BACK) and journal.decision is not Decision.FORWARD


def _again(journal: Journal) -> str:
    return command(Verb.SWITCHOVER, journal.flow, journal.topics)
