"""Which state a flow shows while a record that it goes by cannot be read."""

from __future__ import annotations

from typing import Any, cast

from replicator.engine.flow.assembly.inputs import DaemonIdentity, FlowInputs
from replicator.engine.flow.runner import FlowRunner
from replicator.errors import DamagedRecord
from replicator.model.security import ClusterSpec
from replicator.model.spec import CoordinatorSpec, FlowSpec, Pattern, PatternKind, Selection
from replicator.model.status.states import FlowState
from replicator.store.event_store import MemoryStore

FLOW = FlowSpec("e2w", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)))


class Told:
    """Switches whose records can be read, or not."""

    damaged = False

    def state(self, *, paused: bool) -> FlowState:
        """Return the state."""
        if self.damaged:
            raise DamagedRecord("it cannot be read", cluster="")
        return FlowState.PAUSED if paused else FlowState.SWITCHED_OVER


async def test_a_flow_that_stands_by_is_not_shown_as_copying() -> None:
    """Its writer's record was damaged while it ran: nothing says that it would copy now."""
    runner = FlowRunner(
        FlowInputs(
            FLOW,
            ClusterSpec("east", (("127.0.0.1", 1),)),
            ClusterSpec("west", (("127.0.0.1", 2),)),
            CoordinatorSpec(3.0, 1.0, "memory"),
            DaemonIdentity("me", "127.0.0.1:0"),
            MemoryStore(),
            cast("Any", None),
            cast("Any", None),
        )
    )
    told = Told()
    runner._run_state.switches = cast("Any", told)
    assert runner.picture._state(()) is FlowState.SWITCHED_OVER
    told.damaged = True
    assert runner.picture._state(()) is FlowState.SWITCHED_OVER
