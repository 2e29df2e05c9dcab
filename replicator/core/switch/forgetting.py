"""Whether the records of a mirror or a flow may be removed: facts in, a refusal or nothing out."""

from __future__ import annotations

from replicator.core.switch.machine.helps import beside
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
        there: Whether the source has it; None if not known.
        running: The running switch of the flow.

    Raises:
        PreflightFailed: The record is another flow's, or the flow copies the topic, or may: it would start again.
        Conflict: A switch is under way.
    """
    name, uid = flow
    if owner != uid:
        raise PreflightFailed(
            f"the record of {topic} belongs to flow {owner!r}, not to {name!r} ({uid}): it is not ours to remove",
            next_step="replicator flow list",
        )
    _check_switch(name, running)
    if selected and there is not False:
        known = "which is on its source" if there else "and it is not known whether its source still has it"
        raise PreflightFailed(
            f"flow {name!r} selects {topic}, {known}: it would be mirrored again immediately",
            next_step=f"exclude it (`topics.exclude`) and restart the daemon, then `replicator mirror forget {name} "
            f"{topic}`; or delete it on the source",
        )


def check_flow(name: str, *, in_file: bool, running: Journal | None, active: tuple[str, ...]) -> None:
    """Return if all records of a flow may be removed.

    Args:
        name: Name of the flow.
        in_file: Whether this daemon runs it.
        running: The running switch of the flow.
        active: Daemons that may be working on it.

    Raises:
        PreflightFailed: This daemon runs it.
        Conflict: A switch is under way, or another daemon works on it.
    """
    if in_file:
        raise PreflightFailed(
            f"this daemon runs flow {name!r}: its records would be written again immediately",
            next_step="remove it from the flow file and restart the daemon, then repeat the command",
        )
    _check_switch(name, running)
    if active:
        raise Conflict(
            f"flow {name!r} is still run by {', '.join(active)}",
            why="signs of life appeared on the state topic while it was watched",
            next_step="remove the flow from that daemon's flow file and restart it, then repeat the command",
        )


def _check_switch(name: str, running: Journal | None) -> None:
    if running is not None:
        raise Conflict(
            f"{running.verb} {running.id} of flow {name!r} is under way",
            next_step=beside(running),
        )
