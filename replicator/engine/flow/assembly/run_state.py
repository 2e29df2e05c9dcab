"""The state of one flow in this daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.engine.switch.context import SwitchContext
from replicator.errors import BugError, ReplicatorError
from replicator.rpc.client.peers import FlowReference

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.flow.assembly.assemble import Assembly
    from replicator.engine.flow.assembly.inputs import FlowInputs
    from replicator.engine.flow.assembly.start_findings import StartFindings
    from replicator.engine.state.topic.log import StateLog
    from replicator.engine.switch.context import Copying
    from replicator.engine.switch.keeper import SwitchKeeper
    from replicator.engine.switch.steps.settings import OpenedSettingsCheck


@dataclass(slots=True)
class RunState:
    """The state of a flow in this daemon: written by what runs it, read by whatever shows or changes it.

    Attributes:
        inputs: What the flow works with.
        found: What its start found.
        problem: What its topics, or its start, wait for; None for nothing.
        ended_because: Why it ended without being stopped; None while it runs.
        state_log: What is recorded on the target; None until that has been read.
        assembly: What it is made of; None until it is up.
        switches: Its switches; None while the flow's uid is not known.
        opened: How far the settings of an opened side have been restored; None until the flow is up.
        paused: Whether an operator has paused it.
        passed_once: Whether a pass over its topics has been completed.
    """

    inputs: FlowInputs
    found: StartFindings
    problem: str | None = "starting"
    ended_because: str | None = None
    state_log: StateLog | None = None
    assembly: Assembly | None = None
    switches: SwitchKeeper | None = None
    opened: OpenedSettingsCheck | None = None
    paused: bool = False
    passed_once: bool = False

    def up(self) -> Assembly:
        """Return what the flow is made of.

        Raises:
            ReplicatorError: It is not up.
        """
        if self.assembly is None:
            raise ReplicatorError(
                f"flow {self.inputs.flow.name!r} is not up", why=self.problem or "", next_step="replicator flow status"
            )
        return self.assembly

    def log(self) -> StateLog:
        """Return what is recorded on the target; call it only once the target is open."""
        if self.state_log is None:
            raise BugError(f"flow {self.inputs.flow.name} has no state yet")
        return self.state_log

    @property
    def uid(self) -> str | None:
        """The flow's uid; None while it cannot be determined, or if the flow was never started."""
        if self.assembly is not None:
            return self.assembly.identity.uid
        known = self.inputs.between.record(self.state_log.records) if self.state_log is not None else None
        return known.uid if known is not None else None

    def asked(self, assembly: Assembly) -> FlowReference:
        """Return the flow as it is named in questions to other daemons."""
        return FlowReference(self.inputs.flow.name, assembly.identity.uid)

    def met(self, error: ReplicatorError) -> bool:
        """Note an error that the flow waits to pass; return whether it is new."""
        before, self.problem = self.problem, self.found.met(error)
        return self.problem != before

    def works(self) -> None:
        """Note that the flow waits for nothing any more."""
        self.problem = self.found.wrong_cluster = None

    def switch_context(self, state_log: StateLog, uid: str, copying: Callable[[], Copying | None]) -> SwitchContext:
        """Return the context in which its switches are carried out."""
        inputs = self.inputs
        inputs.between.hold_source(state_log.records, uid)
        return SwitchContext(
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
