"""Follows a switch to its end: its steps, what it waits for, and whether the other side follows at the end."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.cli import remote
from replicator.cli.printing import output
from replicator.cli.printing.output import Format
from replicator.cli.switch import views
from replicator.cli.switch.switch import show
from replicator.errors import Conflict, KafkaError, PreflightFailed, ReplicatorError, TimedOut
from replicator.model.switch.terms import Outcome, Verb, back_id
from replicator.model.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.model.switch.status import BothSides, SwitchStatus
    from replicator.rpc.client.control_client import ControlClient

_POLL_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class OrderOptions:
    """How an order is given: whether to ask and to wait, and how to print."""

    dry_run: bool
    yes: bool
    wait: bool
    timeout_seconds: float
    form: Format


@dataclass(slots=True)
class _Shown:
    """How much of a switch was shown so far."""

    quiet: bool
    steps: int = 0
    waits: str | None = None

    def show(self, switch: SwitchStatus) -> None:
        """Show what is new."""
        done = [step for step in switch.steps if step.at_ms is not None]
        if not self.quiet:
            for step in done[self.steps :]:
                output.line(views.step_line(step))
            if switch.waits_for and switch.waits_for != self.waits:
                output.note(f"waits for: {printable(switch.waits_for)}")
        self.steps, self.waits = len(done), switch.waits_for


def follow(client: ControlClient, switch: SwitchStatus, manner: OrderOptions) -> None:
    """Show steps as they are done, until the switch has ended or needs the operator.

    Raises:
        PreflightFailed: It was undone, or waits for a confirmation.
        TimedOut: It is not done within the timeout; it goes on.
    """
    shown = _Shown(quiet=manner.form not in {Format.TABLE, Format.WIDE})
    deadline = time.monotonic() + manner.timeout_seconds + _POLL_SECONDS
    while True:
        switch = _reread(client, switch)
        shown.show(switch)
        if switch.finished or (switch.confirm and _waits_for_agreement(switch)):
            break
        if time.monotonic() >= deadline:
            raise TimedOut(
                f"{switch.verb} {switch.id} is not done after {output.age(manner.timeout_seconds)}",
                why=switch.waits_for or "it goes on",
                next_step=f"replicator switch status {switch.flow}",
            )
        time.sleep(_POLL_SECONDS)
    _ended(client, switch, manner)


def _waits_for_agreement(switch: SwitchStatus) -> bool:
    ahead = next((step.step for step in switch.steps if step.at_ms is None), "")
    return ahead == "confirm"


def _ended(client: ControlClient, switch: SwitchStatus, manner: OrderOptions) -> None:
    if not switch.finished:
        _agree(client, switch, manner)
        return
    if manner.form in {Format.TABLE, Format.WIDE}:
        views.outcome(switch)
        output.line(views.headline(switch))
    else:
        show(switch, manner.form)
    if switch.outcome is not Outcome.DONE:
        raise PreflightFailed(
            views.headline(switch),
            why=switch.stopped_by,
            next_step=f"replicator switch status {switch.flow}",
        )
    if switch.verb is Verb.FAILBACK and any(step.step == "switch_back" for step in switch.steps):
        follow_back(client, switch, manner)
    elif switch.verb is Verb.FAILBACK or (switch.verb is Verb.SWITCHOVER and switch.reverse_flow):
        _await_the_other_side(client, switch, manner)


def _agree(client: ControlClient, switch: SwitchStatus, manner: OrderOptions) -> None:
    """Ask the operator about topics with a tail, and go on."""
    if manner.form in {Format.TABLE, Format.WIDE}:
        views.outcome(switch)
    else:
        show(switch, manner.form)
    remote.confirmed(
        "Do that with these topics?", next_step=f"replicator failback {switch.flow} --confirm {switch.confirm}"
    )
    follow(client, client.confirm_switch(switch.flow, switch.confirm, actor=remote.actor()), manner)


def follow_back(client: ControlClient, switch: SwitchStatus, manner: OrderOptions) -> None:
    """Follow the switchover of the reverse flow that a failback ordered, from its journal on the other cluster.

    Raises:
        PreflightFailed: It was undone: the target is still the open side.
        Conflict: A failover replaced it.
        TimedOut: It is not done, or the other side does not follow, within the timeout.
    """
    shown = _Shown(quiet=manner.form not in {Format.TABLE, Format.WIDE})
    deadline = time.monotonic() + manner.timeout_seconds + _POLL_SECONDS
    while True:
        sides = _read_sides(client, switch, deadline)
        if sides is None:
            output.note(f"`replicator switch status {switch.reverse_flow}` shows how far its switchover is")
            return
        back = _found(sides.reverse, back_id(switch.id))
        if back is not None:
            shown.show(back)
            if back.finished:
                break
        if time.monotonic() >= deadline:
            raise TimedOut(
                f"the switchover of {switch.reverse_flow} that brings {switch.flow} back is not done after "
                f"{output.age(manner.timeout_seconds)}",
                why=(back.waits_for if back is not None else None) or "it goes on",
                next_step=f"replicator switch status {switch.reverse_flow}",
            )
        time.sleep(_POLL_SECONDS)
    if manner.form in {Format.TABLE, Format.WIDE}:
        views.outcome(back)
        output.line(views.headline(back))
    if back.outcome is not Outcome.DONE:
        raise PreflightFailed(
            views.headline(back),
            why=f"{back.stopped_by}; {sides.open_side or 'neither side'} is open",
            next_step=f"replicator switch status {switch.reverse_flow}",
        )
    _await_the_other_side(client, switch, manner)


def _await_the_other_side(client: ControlClient, switch: SwitchStatus, manner: OrderOptions) -> None:
    """Wait until one side is open and the other follows it, and say so.

    Raises:
        Conflict: The open side is not the one that the switch opened.
        TimedOut: The other side does not follow within the timeout.
    """
    flow = client.status(switch.flow).flows[0]
    comes_back = switch.verb is Verb.FAILBACK and any(step.step == "switch_back" for step in switch.steps)
    side = flow.source if comes_back else flow.target
    quiet = manner.form not in {Format.TABLE, Format.WIDE}
    deadline = time.monotonic() + manner.timeout_seconds + _POLL_SECONDS
    waits = ""
    while True:
        sides = _read_sides(client, switch, deadline)
        if sides is None:
            return  # an older daemon: it reports nothing about the other flow
        if sides.open_side and sides.open_side != side:
            raise Conflict(
                f"{switch.verb} {switch.id} is done, but {sides.open_side} is the open side, not {side}",
                why="the flow has been switched again since",
                next_step=f"replicator switch history {switch.flow}",
            )
        if not sides.waits_for:
            break
        if sides.waits_for != waits and not quiet:
            output.note(f"waits for: {printable(sides.waits_for)}")
        waits = sides.waits_for
        if time.monotonic() >= deadline:
            raise TimedOut(
                f"{switch.verb} {switch.id} is done, but the other side still does not follow after "
                f"{output.age(manner.timeout_seconds)}",
                why=f"{sides.open_side or 'neither side'} is open; {waits}",
                next_step="replicator flow status",
            )
        time.sleep(_POLL_SECONDS)
    if not quiet:
        states = ", ".join(f"{flow} is {state}" for flow, state in sides.states)
        output.line(f"{sides.open_side} is open, and the other side follows: {states}")


def _reread(client: ControlClient, switch: SwitchStatus) -> SwitchStatus:
    """Return a switch as it is now.

    Raises:
        Conflict: A failover replaced it.
    """
    return _found(client.switches(switch.flow), switch.id) or switch


def _found(switches: Iterable[SwitchStatus], switch_id: str) -> SwitchStatus | None:
    """Return the switch with this id, or None.

    Raises:
        Conflict: A failover replaced it.
    """
    for one in switches:
        if one.id == switch_id:
            return one
        if one.replaces == switch_id:
            raise Conflict(
                f"switchover {switch_id} of {one.flow!r} was replaced by {one.verb} {one.id}",
                why=f"{one.actor or 'someone'} ordered it{f': {one.reason}' if one.reason else ''}",
                next_step=f"replicator switch status {one.flow}",
            )
    return None


def _read_sides(client: ControlClient, switch: SwitchStatus, deadline: float) -> BothSides | None:
    """Return how a switch left both sides; a cluster that briefly does not answer is asked again.

    Raises:
        KafkaError: It does not answer before the deadline, or refuses.
    """
    while True:
        try:
            return client.both_sides(switch.flow, switch.id)
        except KafkaError as error:
            if not error.retryable or time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_SECONDS)


def is_switching_back(client: ControlClient, switch: SwitchStatus) -> bool:
    """Return whether the switchover that a failback ordered is under way."""
    with contextlib.suppress(ReplicatorError):  # the other cluster does not answer right now
        sides = client.both_sides(switch.flow, switch.id)
        ids = [one.id for one in sides.reverse if one.outcome is Outcome.RUNNING] if sides is not None else []
        return back_id(switch.id) in ids
    return False
