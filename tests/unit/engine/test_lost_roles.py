"""A flow whose role a failback of the wrong flow took stands by again, and no other flow does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.engine.state import records as state
from replicator.engine.state.journal import put_switches
from replicator.engine.switch.repairs.lost_roles import only_failed_back, opened_and_copying, standing_by
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Outcome, Verb
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import Change

FORTH, BACK = "forth", "back"
OPENED = Journal("s", Verb.SWITCHOVER, outcome=Outcome.DONE, fence_epoch=4)
UNDONE = Journal("f-back", Verb.SWITCHOVER, outcome=Outcome.ABORTED)
FAILED_BACK = Journal("f", Verb.FAILBACK, outcome=Outcome.DONE)


def records(*changes: Change) -> dict[bytes, bytes]:
    """Return a state topic."""
    return {key: value for key, value in changes if value is not None}


def forth(writer: Writer, switches: Switches) -> dict[bytes, bytes]:
    """Return what is recorded of the flow that was opened."""
    return records(state.put(state.writer_key(FORTH), state.writer_record(writer)), *put_switches(FORTH, switches))


COPYING = Writer(7, 4, Role.COPYING, 8, 0, 9)
BROKEN = forth(COPYING, Switches(UNDONE, (OPENED,)))


def test_its_role_is_given_back_once() -> None:
    """Nothing else of the record changes."""
    assert opened_and_copying(BROKEN, FORTH) == OPENED
    after = BROKEN | records(*standing_by(BROKEN, FORTH))
    assert state.get_writer(after, FORTH) == replace(COPYING, role=Role.PROMOTED)
    assert standing_by(after, FORTH) == []


@pytest.mark.parametrize(
    ("writer", "switches"),
    [
        (replace(COPYING, role=Role.PROMOTED), Switches(OPENED)),
        (COPYING, Switches()),
        (replace(COPYING, producer_epoch=5), Switches(UNDONE, (OPENED,))),
        (COPYING, Switches(replace(UNDONE, outcome=Outcome.RUNNING), (OPENED,))),
        (COPYING, Switches(replace(OPENED, topics=("a",)))),
        (COPYING, Switches(replace(OPENED, outcome=Outcome.FAILED_FORWARD))),
    ],
)
def test_any_other_flow_is_left_alone(writer: Writer, switches: Switches) -> None:
    """One that stands by, was never opened, has another epoch, is being switched, or was opened in part."""
    assert standing_by(forth(writer, switches), FORTH) == []


def test_only_where_nothing_can_have_come_back() -> None:
    """A way back that ever had a mirror may have brought it back; one that was not failed back took nothing."""
    failed_back = records(*put_switches(BACK, Switches(FAILED_BACK)))
    assert only_failed_back(failed_back, BACK)
    assert not only_failed_back({}, BACK)
    mirror = state.put(state.mirror_key(BACK, "a"), pb.MirrorRecord(source_topic="a", target_topic="a"))
    assert not only_failed_back(failed_back | records(mirror), BACK)
