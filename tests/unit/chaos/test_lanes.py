"""Steps that harm the same thing are done one after the other; a late begin makes a late end."""

from __future__ import annotations

import threading
import time

import pytest

from chaos.errors import ChaosError
from chaos.faults import Fault
from chaos.lanes import Lanes
from chaos.plan import Phase, Step

KILL = Step(0.0, 1, Fault.TARGET_KILL, Phase.BEGIN, 0, {"partition": 0})
HEAL = Step(0.2, 1, Fault.TARGET_KILL, Phase.END, 0)
PAUSE = Step(0.2, 2, Fault.TARGET_PAUSE, Phase.BEGIN, 1)
GROW = Step(0.0, 3, Fault.GROW, Phase.BEGIN, 0)


def test_one_lane_keeps_its_order_and_lengths() -> None:
    """The begin takes longer than its fault was to last; nothing of the lane overtakes it, another lane does."""
    done: list[tuple[Step, float]] = []

    def do(step: Step) -> None:
        if step is KILL:
            time.sleep(0.4)
        done.append((step, time.monotonic()))

    lanes = Lanes(do)
    for step in (KILL, HEAL, PAUSE, GROW):
        lanes.give(step)
    lanes.finish()

    assert [step for step, _ in done] == [GROW, KILL, HEAL, PAUSE]
    assert done[2][1] - done[1][1] >= 0.19


def test_a_failed_step_ends_the_run() -> None:
    """What it raised is raised by the next look."""

    def do(_: Step) -> None:
        raise ChaosError("no leader")

    lanes = Lanes(do)
    lanes.give(KILL)

    with pytest.raises(ChaosError, match="no leader"):
        lanes.finish()


def test_nothing_begins_after_the_close() -> None:
    """An end that waits for its time is given up."""
    done: list[Step] = []
    lanes = Lanes(done.append)
    lanes.give(KILL)
    lanes.finish()
    lanes.give(Step(60.0, 1, Fault.TARGET_KILL, Phase.END, 0))
    lanes.close()
    for thread in threading.enumerate():
        if thread.name == "target nodes":
            thread.join(5)

    assert done == [KILL]
