"""The demo's two switches: ordered as the command line orders them, and followed to their end."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.errors import ReplicatorError
from replicator.model.switch.terms import Close, Options, Outcome, SwitchOrder, Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.cli.demo.view import Say
    from replicator.model.switch.status import SwitchStatus
    from replicator.rpc.client.control_client import ControlClient

_POLL_SECONDS = 0.1
_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Switched:
    """Result of a switch: how long it took, offsets lost, and groups at exactly their position."""

    seconds: float
    lost: int
    groups_exact: int
    groups_inexact: int

    @property
    def sound(self) -> bool:
        """Whether nothing was lost and every group kept its exact position."""
        return not self.lost and not self.groups_inexact


def switch(address: str, flow: str, verb: Verb, say: Say, check: Callable[[], None]) -> Switched:
    """Order a switch, with its way back, of a flow whose producers are stopped, and follow it to its end.

    Raises:
        ReplicatorError: It was refused, undone, or not done in time.
    """
    from replicator.rpc.client.control_client import ControlClient  # grpc takes 100 ms
    from replicator.rpc.client.endpoint import Endpoint

    began = time.monotonic()
    options = Options(close=Close.STATED, reverse_flow="?")
    order = SwitchOrder(uuid.uuid4().hex[:16], verb, flow=flow, options=options, actor="demo", reason="demo")
    with ControlClient(Endpoint(address)) as client:
        _begin(client, order, began + _SECONDS_MAX, check)
        done = _follow(client, flow, order.id, say, began + _SECONDS_MAX)
        if verb is Verb.FAILBACK:
            done = _follow(client, done.reverse_flow, f"{order.id}-back", say, began + _SECONDS_MAX)
    lost, exact, inexact = done.known_loss, done.groups_exact, done.groups_inexact
    if lost is None or exact is None or inexact is None:
        raise ReplicatorError(
            f"{verb} {done.id} does not say what it cost", next_step=f"replicator switch status {flow}"
        )
    return Switched(time.monotonic() - began, lost, exact, inexact)


def _begin(client: ControlClient, order: SwitchOrder, deadline: float, check: Callable[[], None]) -> None:
    """Order it as soon as the flow is up: the daemon may still be examining its clusters."""
    while (problems := client.plan_switch(order).problems) and time.monotonic() < deadline:
        check()
        time.sleep(_POLL_SECONDS)
    if problems:
        raise ReplicatorError(f"{order.verb} of {order.flow} cannot begin", why="; ".join(problems))
    client.start_switch(order, None)


def _follow(client: ControlClient, flow: str, switch_id: str, say: Say, deadline: float) -> SwitchStatus:
    while time.monotonic() < deadline:
        found = next((one for one in client.switches(flow) if one.id == switch_id), None)
        if found is not None and found.finished:
            if found.outcome is not Outcome.DONE:
                raise ReplicatorError(f"{found.verb} of {flow} was undone", why=found.stopped_by)
            return found
        ahead = (
            next((step.step.replace("_", " ") for step in found.steps if step.at_ms is None), "")
            if found is not None
            else ""
        )
        say(ahead)
        time.sleep(_POLL_SECONDS)
    raise ReplicatorError(f"the switch of {flow} is not done after {_SECONDS_MAX:g} s")
