"""Journals and cuts come back from `replicator.state` as they were written."""

from __future__ import annotations

from dataclasses import fields, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicator.engine.state import cuts as state_cuts
from replicator.engine.state import journal as records
from replicator.engine.state.held_back import HeldBack, held_back_key, held_back_of, put_held_back
from replicator.model.acl import Rule
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Cut, End, GroupsNote, Options
from replicator.state_pb import state_pb2 as pb

OFFSET = st.integers(0, 2**62)
MAYBE = st.none() | OFFSET
TEXT = st.text(max_size=12)
CUTS = st.lists(
    st.builds(
        Cut,
        st.sampled_from(("orders", "payments")),
        st.integers(0, 9),
        OFFSET,
        OFFSET,
        st.just("west.orders"),
        st.booleans(),
        MAYBE,
        MAYBE,
        MAYBE,
        OFFSET,
    ),
    unique_by=lambda cut: (cut.topic, cut.partition),
).map(lambda cuts: tuple(sorted(cuts)))
ENDS = st.lists(
    st.builds(End, st.sampled_from(("a", "b")), st.integers(0, 9), OFFSET, st.booleans()),
    unique_by=lambda end: (end.topic, end.partition),
).map(lambda ends: tuple(sorted(ends)))
JOURNALS = st.from_type(Journal).flatmap(
    lambda journal: st.builds(
        replace,
        st.just(journal),
        revision=OFFSET,
        started_ms=OFFSET,
        ended_ms=MAYBE,
        fence_epoch=st.none() | st.integers(0, 32766),
        cuts=CUTS,
        ends=ENDS,
        groups=st.builds(GroupsNote, st.integers(0, 9), st.tuples(TEXT), st.integers(0, 9)),
        options=st.builds(replace, st.from_type(Options), timeout_ms=OFFSET),
        topic_ids=st.dictionaries(TEXT, TEXT, max_size=3).map(lambda ids: tuple(sorted(ids.items()))),
        history=st.just(tuple(replace(one, at_ms=5) for one in journal.history)),
        rest=st.just(b""),  # of a newer version
    )
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # journals are large; a busy machine draws them slowly
@given(JOURNALS, st.lists(JOURNALS, max_size=2))
def test_journals(current: Journal, past: list[Journal]) -> None:
    """Every field, whatever it holds."""
    current, *past = (replace(one, id=f"{at}", started_ms=at) for at, one in enumerate((current, *past)))
    switches = Switches(current, tuple(past))
    stored = {key: value for key, value in records.put_switches("uid", switches) if value is not None}
    assert records.switches_of(stored, "uid") == switches
    assert records.switches_of(stored, "other") == Switches()
    key, value = records.put_copy("uid", current)
    assert value is not None
    assert records.copy_of({key: value}, "uid") == current
    assert list(records.copies_to({key: value}, current.flow, current.target_cluster_id)) == [("uid", current)]
    elsewhere = [("uid", current)] if not current.target_cluster_id else []
    assert list(records.copies_to({key: value}, current.flow, None)) == elsewhere
    assert list(records.copies_to({key: value}, current.flow, "of another target")) == elsewhere


@given(CUTS)
def test_cuts(cuts: tuple[Cut, ...]) -> None:
    """One record for each topic of the target; the highest epoch is told."""
    by_target = tuple(replace(cut, target_topic=f"west.{cut.topic}") for cut in cuts)
    changes = state_cuts.put_cuts("uid", "s1", 7, by_target, 1)
    stored = {key: value for key, value in changes if value}
    topics = {cut.target_topic for cut in by_target}
    assert state_cuts.cuts_of(stored, "uid", topics) == (by_target, 7 if cuts else 0)
    assert state_cuts.cuts_of(stored, "uid", ()) == ((), 0)


def test_every_field_of_a_journal_is_stored() -> None:
    """One that is added and forgotten would be lost with the executor that noted it."""
    stored = {"groups": "groups_exact"}
    known = {field.name for field in pb.SwitchRecord.DESCRIPTOR.fields}
    assert {stored.get(field.name, field.name) for field in fields(Journal) if field.name != "rest"} <= known
    assert {field.name for field in fields(Options)} == {field.name for field in pb.SwitchOptions.DESCRIPTOR.fields}


def test_held_back_rules() -> None:
    """What is ours of a target's rules; once it is open all of it counts as made."""
    rules = [Rule("TOPIC", "t", "LITERAL", f"User:{name}", "*", "READ", "ALLOW") for name in "abc"]
    held = HeldBack((rules[0],), (rules[1],), (rules[2],))
    key, value = put_held_back("uid", held)
    assert value is not None
    assert held_back_of({key: value}, "uid") == held
    assert held.opened(None) == HeldBack(made=(rules[1], rules[2]))
    assert put_held_back("uid", HeldBack()) == (held_back_key("uid"), None)
    assert held_back_of({}, "uid") == HeldBack()


def test_rules_of_one_topic_that_is_opened_alone() -> None:
    """A rule for a whole prefix goes on being withheld, and is placed for that topic only."""
    lock = Rule("TOPIC", "a.t", "LITERAL", "User:x", "*", "WRITE", "DENY")
    other = lock._replace(name="a.u")
    write = Rule("TOPIC", "a.t", "LITERAL", "User:y", "*", "WRITE", "ALLOW")
    prefix = Rule("TOPIC", "a.", "PREFIXED", "User:z", "*", "WRITE", "ALLOW")
    opened = HeldBack((lock, other), (), (write, prefix)).opened({"a.t"})

    assert opened.locks == (other,)
    assert set(opened.made) == {write, prefix._replace(name="a.t", pattern="LITERAL")}
    assert opened.withheld == (prefix,)
    assert opened.opened({"a.t"}) == opened
