"""What a failback leaves to the flow that goes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.engine.state import records as state
from replicator.engine.state.journal import switches_of
from replicator.engine.switch.steps import failback as restoring
from replicator.engine.switch.steps.failback import Failback
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import LeftOutMirror, LeftOutReason, Verb
from replicator.state_pb import state_pb2 as pb

UID, BACK = "forth", "back"


def mirrors(uid: str, *topics: str) -> dict[bytes, bytes]:
    """Return the records of a flow that mirrors topics under their names."""
    some = [state.put(state.mirror_key(uid, t), pb.MirrorRecord(source_topic=t, target_topic=t)) for t in topics]
    return {key: raw for key, raw in some if raw is not None}


async def test_the_switch_back_is_not_about_what_was_switched_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where the flow that goes back has no mirror of it: it selects it, and was waited for as one that came."""
    ours = mirrors(UID, "rest", "alone", "unselected")
    for key, raw in [state.put(state.writer_key(UID, "alone"), pb.WriterRecord(role=pb.WRITER_ROLE_PROMOTED))]:
        ours[key] = raw or b""
    theirs = mirrors(BACK, "rest")

    async def source_log() -> object:
        return SimpleNamespace(records=theirs)

    async def change_switches(_log: object, uid: str, change: Any) -> Switches:
        assert uid == BACK
        began = change(switches_of(theirs, uid))
        assert began.current.left_out == tuple(
            LeftOutMirror(t, LeftOutReason.SWITCHED_ALONE) for t in ("alone", "unselected")
        )
        return cast("Switches", began)

    monkeypatch.setattr(restoring, "change_switches", change_switches)
    context = SimpleNamespace(
        log=SimpleNamespace(records=ours),
        uid=UID,
        flow=SimpleNamespace(name="forth"),
        source_log=source_log,
        reverse_uid=lambda _: BACK,
    )
    away = (LeftOutMirror("unselected", LeftOutReason.NOT_SELECTED),)
    journal = Journal("f", Verb.FAILBACK, left_out=away)
    back = Failback(cast("Any", context), cast("Any", None))
    assert await back.switch_back(journal, do.SwitchBack("back", journal.back_id)) == got.Ok()
