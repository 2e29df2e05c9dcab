"""Pauses between tries: bounded, growing, spread."""

from __future__ import annotations

from replicator.backoff import Backoff


def test_pauses_grow_up_to_a_bound_and_begin_small_again_after_a_success() -> None:
    """Whatever is drawn: none is shorter than the shortest, none longer than the bound of its turn."""
    backoff = Backoff(0.5, 8.0)
    for _ in range(20):
        for turn in range(12):
            bound = min(8.0, 2.0**turn)
            assert bound / 2 <= backoff.next_seconds() <= bound
        assert backoff.failures == 12
        backoff.reset()
        assert backoff.failures == 0


def test_a_very_long_outage_does_no_harm() -> None:
    """2 to the power of 5,000 is no float."""
    backoff = Backoff(0.5, 8.0)
    assert max(backoff.next_seconds() for _ in range(5000)) <= 8.0


def test_those_who_failed_together_do_not_come_back_together() -> None:
    """A thousand partitions or daemons that were cut off by the same fault would all try in the same moment."""
    pauses = set()
    for _ in range(50):
        backoff = Backoff(0.1, 30.0)
        pauses.add([backoff.next_seconds() for _ in range(6)][-1])
    assert len(pauses) > 40


def test_the_first_failures_may_cost_nothing() -> None:
    """What was lost once is tried again at once; whoever is about to stop does so once."""
    backoff = Backoff(0.5, 8.0, free_failures=1)
    for _ in range(3):
        assert backoff.next_seconds() == 0.0
        assert 0.5 <= backoff.next_seconds() <= 1.0
        assert 0.5 <= backoff.next_seconds() <= 2.0
        backoff.reset()
