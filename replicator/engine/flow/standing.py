"""How one flow stands in this daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.engine.switch.context import Site
from replicator.errors import BugError, ReplicatorError
from replicator.rpc.peers import Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.flow.assembly import Parts
    from replicator.engine.flow.inputs import FlowInputs
    from replicator.engine.flow.start_findings import StartFindings
    from replicator.engine.state.log import StateLog
    from replicator.engine.switch.context import Copying
    from replicator.engine.switch.keeper import SwitchKeeper
    from replicator.engine.switch.settings import OpenedLook


@dataclass(slots=True)
class Standing:
    """How a flow stands in this daemon now: told by what runs it, read by whoever shows or changes it.

    Attributes:
        inputs: What it works with.
        found: What its start found.
        trouble: What its topics, or its start, wait for; None for nothing.
        ended_because: Why it ended by itself; None while it runs.
        state_log: What is recorded on the target; None before that was read.
        parts: What exists once it is up; None before.
        switches: Its switches; None while it is not known which flow it is.
        opened: How far an opened side has got its settings back; None before it is up.
        paused: Whether an operator has paused it.
        passed_once: Whether its topics were looked at.
    """

    inputs: FlowInputs
    found: StartFindings
    trouble: str | None = "starting"
    ended_because: str | None = None
    state_log: StateLog | None = None
    parts: Parts | None = None
    switches: SwitchKeeper | None = None
    opened: OpenedLook | None = None
    paused: bool = False
    passed_once: bool = False

    def up(self) -> Parts:
        """Return its parts.

        Raises:
            ReplicatorError: It is not up.
        """
        if self.parts is None:
            raise ReplicatorError(
                f"flow {self.inputs.flow.name!r} is not up", why=self.trouble or "", next_step="replicator flow status"
            )
        return self.parts

    def log(self) -> StateLog:
        """Return what is recorded on the target; the target was opened."""
        if self.state_log is None:
            raise BugError(f"flow {self.inputs.flow.name} has no state yet")
        return self.state_log

    @property
    def uid(self) -> str | None:
        """The flow's uid; None while nothing tells which flow it is, or it was never begun."""
        if self.parts is not None:
            return self.parts.identity.uid
        known = self.inputs.between.record(self.state_log.records) if self.state_log is not None else None
        return known.uid if known is not None else None

    def asked(self, parts: Parts) -> Asked:
        """Return what other daemons are asked about."""
        return Asked(self.inputs.flow.name, parts.identity.uid)

    def met(self, error: ReplicatorError) -> bool:
        """Take an error that the flow waits for; return whether it is news."""
        before, self.trouble = self.trouble, self.found.met(error)
        return self.trouble != before

    def works(self) -> None:
        """What the flow waited for is over."""
        self.trouble = self.found.wrong_cluster = None

    def site(self, state_log: StateLog, uid: str, copying: Callable[[], Copying | None]) -> Site:
        """Return where its switches are carried out."""
        inputs = self.inputs
        inputs.between.hold_source(state_log.records, uid)
        return Site(
            inputs.flow,
            inputs.reverse,
            inputs.source,
            inputs.target,
            inputs.admins,
            state_log,
            uid,
            inputs.me.instance,
            copying,
        )
