"""The path of a switch stays the same path while it is walked: what was reached is on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.core.switch.machine.machine import SwitchFacts, next_step
from replicator.core.switch.machine.recording import applied
from replicator.core.switch.orders import begin
from replicator.core.switch.plan import status_of
from replicator.errors import BugError
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Close, Cut, Decision, End, GroupsNote, Options, Outcome, SwitchOrder, Verb

FACTS = SwitchFacts(0)
LOCK = "TOPIC LITERAL t User:app * WRITE DENY"


RESULTS: dict[type[do.Step], got.Result] = {
    do.PlanLocks: got.LocksPlanned((LOCK,)),
    do.ProveQuiescence: got.Quiescent((End("t", 0, 5),)),
    do.FindTails: got.TailsFound((Cut("t", 0, 5, 5, "t", tail_end=5),), (("t", "id"),)),
    do.Drain: got.Drained((End("t", 0, 5),)),
    do.SyncGroups: got.GroupsSynced(GroupsNote()),
    do.ClampGroups: got.GroupsSynced(GroupsNote()),
    do.BeginFence: got.FenceBegun(1),
    do.VerifyFence: got.FenceVerified((Cut("t", 0, 5, 5, "t", observed_end=5, tail_end=5),)),
    do.OfferWayBack: got.Decided(Decision.UNDECIDED),
    do.GiveUpWayBack: got.Decided(Decision.FORWARD),
}
"""What each step finds where all is well: a topic of one partition, with nothing beyond the cut."""


def walked(journal: Journal) -> Journal:
    """Return a switch once every step of it was done."""
    for _ in range(30):
        step = next_step(journal, FACTS)
        if isinstance(step, do.Nothing):
            return journal
        journal = applied(journal, step, RESULTS.get(type(step), got.Ok()), revision=journal.revision, facts=FACTS)
    raise BugError("it does not end")


@pytest.mark.parametrize("close", Close)
@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("before", [(), (LOCK,)])
def test_every_path_is_walked_to_its_end(verb: Verb, close: Close, before: tuple[str, ...]) -> None:
    """Also where locks of an earlier switch stand, and the operator's word closes the source this time."""
    last = Journal("old", Verb.SWITCHOVER, outcome=Outcome.DONE, locks=before)
    options = Options(close=close, reverse_flow="back" if verb is Verb.FAILBACK else "")
    ordered = begin(
        Switches(last), SwitchOrder("new", verb, options=options), promoted=verb is Verb.FAILBACK, now_ms=0
    ).switches.current
    assert ordered is not None
    done = walked(ordered)
    assert done.outcome is Outcome.DONE
    assert set(before) <= {*done.locks, *done.inherited_locks}


def test_what_a_switch_costs_is_unknown_until_it_was_found_out() -> None:
    """Before the groups were carried over, and before the cut; a source that was never seen tells nothing of it."""
    journal = begin(Switches(), SwitchOrder("new", Verb.FAILOVER), promoted=False, now_ms=0).switches.current
    assert journal is not None
    shown = status_of(journal, names=("east", "west"))
    assert (shown.groups_exact, shown.groups_inexact, shown.known_loss) == (None, None, None)
    shown = status_of(walked(journal), names=("east", "west"))
    assert (shown.groups_exact, shown.groups_inexact, shown.known_loss, shown.unknown_losses) == (0, 0, 0, 0)
    blind = replace(walked(journal), cuts=(Cut("t", 0, 5, 5, "t"),))
    shown = status_of(blind, names=("east", "west"))
    assert (shown.known_loss, shown.unknown_losses) == (None, 1)


@pytest.mark.parametrize("verb", Verb)
def test_another_cluster_as_the_source_ends_a_failback_wherever_it_stands(verb: Verb) -> None:
    """Also behind the agreement: what follows it would be done to another cluster. The other verbs wait."""
    options = Options(reverse_flow="back" if verb is Verb.FAILBACK else "")
    order = SwitchOrder("new", verb, options=options)
    journal = begin(Switches(), order, promoted=verb is Verb.FAILBACK, now_ms=0, was_cut=True).switches.current
    facts = replace(FACTS, another_source="it is another one")
    while journal is not None and not journal.finished:
        step = next_step(journal, facts)
        assert (step == do.Abort("it is another one")) is (verb is Verb.FAILBACK)
        if verb is Verb.FAILBACK:
            ended = applied(journal, step, got.Ok(), revision=journal.revision, facts=facts)
            assert (ended.outcome, ended.stopped_by) == (Outcome.ABORTED, "it is another one")
            assert isinstance(next_step(ended, facts), do.Nothing)
        step = next_step(journal, FACTS)
        journal = applied(journal, step, RESULTS.get(type(step), got.Ok()), revision=journal.revision, facts=FACTS)
