"""Journals that daemons of another version write: what they lose, observe wrongly, or say in words of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.core.copy.attaching.facts import Role
from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.core.switch.machine.machine import SwitchFacts, next_name, next_step
from replicator.core.switch.machine.recording import applied
from replicator.core.switch.orders import begin
from replicator.core.switch.plan import plan_of, status_of
from replicator.core.switch.running import aborted, way_back
from replicator.core.switch.state import flow_state
from replicator.engine.state.journal import copy_of, lost_left_out, put_copy, put_switches, switches_of
from replicator.errors import Conflict
from replicator.model.status.states import FlowState
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import (
    Close,
    Cut,
    Decision,
    Direction,
    End,
    LeftOutMirror,
    LeftOutReason,
    Options,
    Outcome,
    StepName,
    StepRecord,
    SwitchOrder,
    Verb,
)
from replicator.rpc.convert.switch import switch_from_wire, switch_to_wire
from replicator.state_pb import state_pb2 as pb

UID = "uid"
FACTS = SwitchFacts(now_ms=9)
CUT, RIGHT = Cut("t", 0, 11, 11, "t", observed_end=12, observed_ms=5), Cut("t", 0, 10, 10, "t", observed_end=12)
FORWARD = (
    StepName.PREFLIGHT,
    StepName.BEGIN_FENCE,
    StepName.FENCE,
    StepName.VERIFY_FENCE,
    StepName.PROMOTE,
    StepName.CLAMP_GROUPS,
    StepName.RECORD_CUT,
)
LEFT_OUT = (LeftOutMirror("gone", LeftOutReason.SOURCE_GONE), LeftOutMirror("other", LeftOutReason.NOT_SELECTED))
Records = dict[bytes, bytes]


def stored(switches: Switches, records: Records | None = None) -> Records:
    """Return records once these switches were written."""
    changes = put_switches(UID, switches)
    return {**(records or {}), **{key: value for key, value in changes if value is not None}}


def as_before(switch: pb.SwitchRecord) -> None:
    """Leave of a switch what the version before wrote of it: it knew fewer fields, and writes no others."""
    for name in ("left_out", "replaces", "target_cluster_id"):
        switch.ClearField(name)
    for topic in switch.cuts:
        topic.ClearField("foreign")


def written_before(records: Records) -> Records:
    """Return the records once the version before has written the journal, and nothing else."""
    ((key, _), *_) = put_switches(UID, Switches())
    journal = pb.JournalRecord.FromString(records[key])
    for one in (journal.current, *journal.past):
        as_before(one)
    return {**records, key: journal.SerializeToString(deterministic=True)}


def failover(reached: StepName) -> Journal:
    """Return a failover that has come to a step."""
    done = FORWARD[: FORWARD.index(reached) + 1]
    history = tuple(StepRecord(step, 1) for step in done)
    options = Options(Close.STATED, way_back=False)
    cuts = (CUT,) if StepName.VERIFY_FENCE in done else ()
    journal = Journal("f", Verb.FAILOVER, "e2w", options=options, reached=reached, history=history)
    return replace(journal, fence_epoch=3, cuts=cuts)


def current(records: Records) -> Journal:
    """Return the switch that is under way."""
    found = switches_of(records, UID).current
    assert found is not None
    return found


@pytest.mark.parametrize("reached", [StepName.VERIFY_FENCE, StepName.PROMOTE, StepName.CLAMP_GROUPS])
def test_a_cut_that_an_earlier_version_saw_is_observed_anew(reached: StepName) -> None:
    """It may have counted the marker of the fence. Nobody has gone by it yet: it is not recorded."""
    before = written_before(stored(Switches(failover(reached))))
    journal = current(before)
    step = next_step(journal, FACTS)
    assert isinstance(step, do.VerifyFence)

    after = applied(journal, step, got.FenceVerified((RIGHT,)), revision=journal.revision, facts=FACTS)
    journal = current(stored(Switches(after), before))
    assert (journal.reached, journal.cuts) == (StepName.VERIFY_FENCE, (RIGHT,))
    assert next_name(journal) is StepName.PROMOTE


@pytest.mark.parametrize("reached", [StepName.FENCE, StepName.RECORD_CUT])
def test_what_was_recorded_stands(reached: StepName) -> None:
    """A cut that others go by already is looked at and lowered elsewhere; where there is none, nothing is undone."""
    assert current(written_before(stored(Switches(failover(reached))))).reached is reached


def test_a_cut_of_this_version_stands() -> None:
    """It says what others wrote below the marker."""
    assert current(stored(Switches(failover(StepName.PROMOTE)))) == failover(StepName.PROMOTE)


def test_a_failover_that_takes_over_goes_by_no_cut_of_an_earlier_version() -> None:
    """The order writes the journal, and with it the word that others wrote nothing: it must not speak for that cut."""
    history = tuple(StepRecord(step, 1) for step in FORWARD if step is not StepName.CLAMP_GROUPS)[:-1]
    switchover = replace(failover(StepName.PROMOTE), id="s", verb=Verb.SWITCHOVER, history=history)
    before = switches_of(written_before(stored(Switches(switchover))), UID)
    taken = begin(before, SwitchOrder("f", Verb.FAILOVER, "e2w"), promoted=False, now_ms=9).switches.current
    assert taken is not None
    assert (taken.escalated, taken.reached, taken.cuts) == (True, StepName.FENCE, ())


def switchover(**changes: object) -> Journal:
    """Return a switchover that leaves topics out, and has proven where the rest ends."""
    history = (StepRecord(StepName.PREFLIGHT, 1), StepRecord(StepName.PROVE_QUIESCENCE, 2))
    ends = (End("t", 0, 10),)
    journal = Journal("s", Verb.SWITCHOVER, "e2w", left_out=LEFT_OUT, started_ms=5, history=history, ends=ends)
    return replace(journal, reached=StepName.PROVE_QUIESCENCE, **changes)  # type: ignore[arg-type]


def test_what_is_left_out_outlives_an_earlier_version() -> None:
    """It writes the journal without it, and takes all mirrors for a part of the switch."""
    records = stored(Switches(switchover()))
    assert not lost_left_out(records, UID)
    theirs = stored(Switches(switchover(left_out=(), ends=(End("gone", 0, 3), End("t", 0, 10)))), records)

    records = written_before(theirs)
    assert current(records) == switchover()
    assert lost_left_out(records, UID) == LEFT_OUT
    after = stored(switches_of(records, UID), records)
    assert not lost_left_out(after, UID)
    assert current(after) == switchover()


def test_it_is_kept_for_switches_that_have_ended() -> None:
    """A failback asks what the switch that it comes back from neither cut nor opened."""
    ended = switchover(outcome=Outcome.DONE, ended_ms=8)
    records = written_before(stored(Switches(failover(StepName.FENCE), (ended,))))
    assert switches_of(records, UID).past == (ended,)


def test_a_failover_that_takes_over_leaves_out_the_same() -> None:
    """Whichever version took the order: it has another id, and the time of the switchover."""
    taken = switchover(id="f", verb=Verb.FAILOVER, escalated=True)
    records = stored(Switches(replace(taken, left_out=())), stored(Switches(switchover())))
    assert current(written_before(records)).left_out == LEFT_OUT
    another = switchover(id="f", left_out=())
    assert current(stored(Switches(another), stored(Switches(switchover())))).left_out == ()


def newer(**words: str) -> Switches:
    """Return the switches of a flow as a newer version wrote them: one word of the current one is its own."""
    record = pb.JournalRecord()
    ((_, raw), *_) = put_switches(UID, Switches(switchover()))
    assert raw is not None
    record.MergeFromString(raw)
    for name, text in words.items():
        if name == "why":
            record.current.left_out[0].why = text
        elif name == "step":
            record.current.history.add(step=text)
        elif name == "close":
            record.current.options.close = text
        else:
            setattr(record.current, name, text)
    ((key, _), *_) = put_switches(UID, Switches())
    return switches_of({key: record.SerializeToString()}, UID)


WORDS = ("verb", "outcome", "direction", "reached", "decision", "why", "step", "close")


@pytest.mark.parametrize("kind", WORDS)
def test_a_word_of_a_newer_version(kind: str) -> None:
    """It is kept and shown; this version neither goes on with the switch nor changes it, and says why."""
    switches = newer(**{kind: "unheard_of"})
    journal = switches.current
    assert journal is not None
    assert journal.unknown_words == ("unheard_of",)
    assert switches_of(stored(switches), UID) == switches

    assert isinstance(next_step(journal, FACTS), do.Nothing)
    for role in Role:
        assert isinstance(flow_state(switches, role, paused=False), FlowState)
    shown = switch_from_wire(switch_to_wire(status_of(journal, names=("east", "west"))))
    assert shown.verb == journal.verb
    assert kind == "outcome" or "'unheard_of' is not known here" in (shown.waits_for or "")
    assert plan_of(replace(journal, verb=Verb.FAILOVER)).steps

    verb = Verb.FAILOVER if journal.verb is Verb.SWITCHOVER else Verb.SWITCHOVER
    with pytest.raises(Conflict, match="unheard_of"):
        begin(switches, SwitchOrder("f", verb, "e2w"), promoted=False, now_ms=9)
    with pytest.raises(Conflict, match="unheard_of"):
        aborted(journal, "why", 9)
    copy = copy_of(dict([put_copy(UID, replace(journal, is_copy=True))]), UID)  # type: ignore[list-item]
    assert copy is not None
    with pytest.raises(Conflict, match="unheard_of"):
        way_back(copy, "why")


def test_what_is_left_out_for_a_reason_of_a_newer_version() -> None:
    """The mirror takes no part; once the switch has ended nothing depends on why."""
    switches = newer(why="unheard_of")
    journal = switches.current
    assert journal is not None
    assert "gone" not in journal.scope
    shown = dict(status_of(journal, names=("east", "west")).left_out)
    assert shown["gone"] == "is left out (unheard_of: a word of a newer version)"
    ended = replace(switches, current=replace(journal, outcome=Outcome.DONE))
    assert begin(ended, SwitchOrder("f", Verb.FAILOVER, "e2w"), promoted=False, now_ms=9).switches.running is not None


def test_fields_of_a_newer_version_are_written_again() -> None:
    """What this version did to its successor would be what its predecessor did to it."""
    raw = next(value for _, value in put_switches(UID, Switches(switchover())) if value is not None)
    record = pb.JournalRecord.FromString(raw)
    record.current.MergeFromString(b"\xc2\x3e\x05hello")  # field 1000
    key = put_switches(UID, Switches())[0][0]
    switches = switches_of({key: record.SerializeToString()}, UID)
    assert switches.current is not None
    assert switches.current.rest == b"\xc2\x3e\x05hello"
    assert not switches.current.unknown_words
    assert switches_of(stored(switches), UID) == switches


def test_a_step_that_is_left_out_here_was_reached() -> None:
    """An earlier version placed locks that a switch does not need by this one's rule."""
    history = (StepRecord(StepName.PREFLIGHT, 1), StepRecord(StepName.PLACE_LOCKS, 2))
    options = Options(Close.STATED)
    journal = Journal("s", Verb.SWITCHOVER, options=options, reached=StepName.PLACE_LOCKS, history=history)
    assert next_name(journal) is StepName.PROVE_QUIESCENCE
    turned = replace(journal, direction=Direction.ABORTING, reached=StepName.REOPEN_SOURCE, decision=Decision.WITHDRAWN)
    assert next_name(turned) is None
