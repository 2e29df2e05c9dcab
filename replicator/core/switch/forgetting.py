"""Whether the records of a mirror or a flow may be removed: facts in, a refusal or nothing out."""

from __future__ import annotations

from replicator.core.switch.helps import beside
from replicator.errors import Conflict, PreflightFailed
from replicator.model.switch.journal import Journal


def check_mirror(
    flow: tuple[str, str], topic: str, *, owner: str, selected: bool, there: bool | None, running: Journal | None
) -> None:
    """Return if the records of a mirror may be removed.

    Args:
        flow: Name and uid of the flow.
        topic: The source topic.
        owner: Uid of the flow that the mirror's record names.
        selected: Whether the flow selects the topic.
        there: Whether the source has it; None where that is not known.
        running: The switch of the flow that is under way.

    Raises:
        PreflightFailed: The record is another flow's, or the flow copies the topic, or may: it would begin anew.
        Conflict: A switch is under way.
    """
    name, uid = flow
    if owner != uid:
        raise PreflightFailed(
            f"the record of {topic} names flow {owner!r} as its owner, not {name!r} ({uid}): it is not ours to remove",
            next_step="replicator flow list",
        )
    _check_switch(name, running)
    if selected and there is not False:
        known = "which is on its source" if there else "and it is not known whether its source still has it"
        raise PreflightFailed(
            f"flow {name!r} selects {topic}, {known}: it would be mirrored again at once",
            next_step=f"leave it out (`topics.exclude`) and restart the daemon, then `replicator mirror forget {name} "
            f"{topic}`; or delete it on the source",
        )


def check_flow(name: str, *, in_file: bool, running: Journal | None, at_work: tuple[str, ...]) -> None:
    """Return if all records of a flow may be removed.

    Args:
        name: Of the flow.
        in_file: Whether the daemon that is asked runs it.
        running: The switch of the flow that is under way.
        at_work: Daemons that may be at work on it.

    Raises:
        PreflightFailed: It is run by the daemon that is asked.
        Conflict: A switch is under way, or another daemon works on it.
    """
    if in_file:
        raise PreflightFailed(
            f"this daemon runs flow {name!r}: its records would be written again at once",
            next_step="take it out of the flow file and restart the daemon, then repeat the command",
        )
    _check_switch(name, running)
    if at_work:
        raise Conflict(
            f"flow {name!r} is still run by {', '.join(at_work)}",
            why="signs of life appeared on the state topic while it was watched",
            next_step="take the flow out of that daemon's flow file and restart it, then repeat the command",
        )


def _check_switch(name: str, running: Journal | None) -> None:
    if running is not None:
        raise Conflict(
            f"{running.verb} {running.id} of flow {name!r} is under way",
            next_step=beside(running),
        )
