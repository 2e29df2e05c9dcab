"""The claim: who alone may do unguarded work."""

from __future__ import annotations

import random

from replicator.core.work.claim import ClaimAction, ObservedClaim, Timing, effective_from, next_action

TIMING = Timing(ttl_seconds=10.0, margin_seconds=3.0)
DOUBT_SECONDS = 60.0


def seen(holder: str, since: float, *, released: bool = False) -> ObservedClaim:
    """Return a claim as seen."""
    return ObservedClaim(number=1, holder=holder, renewal=0, released=released, since=since)


def test_a_claim_that_never_was_is_taken() -> None:
    """The first daemon does not wait."""
    assert next_action(None, "a", 0.0, TIMING) is ClaimAction.TAKE


def test_a_released_claim_is_taken_at_once() -> None:
    """Whoever gave it back has nothing outstanding."""
    assert next_action(seen("b", 0.0, released=True), "a", 0.0, TIMING) is ClaimAction.TAKE


def test_our_own_claim_is_renewed() -> None:
    """Also when it stood still for longer than the TTL: nobody took it."""
    assert next_action(seen("a", 0.0), "a", 100.0, TIMING) is ClaimAction.RENEW


def test_another_holder_is_watched_for_a_whole_ttl() -> None:
    """Measured from when *we* first saw this sign of life, on our own clock."""
    assert next_action(seen("b", 5.0), "a", 14.9, TIMING) is ClaimAction.WATCH
    assert next_action(seen("b", 5.0), "a", 15.0, TIMING) is ClaimAction.TAKE


def test_several_renewals_fit_before_the_right_ends() -> None:
    """One that is lost costs nothing."""
    assert TIMING.renew_every_seconds * 4 <= TIMING.ttl_seconds - TIMING.margin_seconds


def test_unguarded_work_waits_out_the_doubt_time_after_a_silent_holder() -> None:
    """Its last write may still arrive; after a claim given back, or the first one, nothing can."""
    assert effective_from(seen("b", 0.0), 20.0, DOUBT_SECONDS) == 80.0
    assert effective_from(seen("b", 0.0, released=True), 20.0, DOUBT_SECONDS) == 20.0
    assert effective_from(None, 20.0, DOUBT_SECONDS) == 20.0


def test_two_daemons_never_work_at_once() -> None:
    """Any pauses, any offsets between their clocks: at most one may work, and never within the other's doubt time."""
    chance = random.Random(7)  # noqa: S311 - a repeatable choice, no secret
    for _ in range(200):
        _two_daemons(chance)


def _two_daemons(chance: random.Random) -> None:
    record: tuple[int, int, str] | None = None
    skew = {"a": 0.0, "b": chance.uniform(-1000, 1000)}
    watched: dict[str, ObservedClaim | None] = {"a": None, "b": None}
    right: dict[str, tuple[int, float, float]] = {}
    worked: dict[str, float] = {}
    now = 0.0
    for _ in range(60):
        now += chance.uniform(0, 6)
        me = chance.choice("ab")
        mine = now + skew[me]
        before = watched[me]
        if record is not None and (before is None or (before.number, before.renewal) != record[:2]):
            watched[me] = before = ObservedClaim(record[0], record[2], record[1], released=False, since=mine)
        move = next_action(before, me, mine, TIMING)
        if move is ClaimAction.TAKE:
            number = record[0] + 1 if record else 1
            record = (number, 0, me)
            right[me] = (number, now + effective_from(before, 0.0, DOUBT_SECONDS), now + 7.0)
            watched[me] = ObservedClaim(number, me, 0, released=False, since=mine)
        elif move is ClaimAction.RENEW and record is not None and record[2] == me and me in right:
            record = (record[0], record[1] + 1, me)
            right[me] = (record[0], right[me][1], now + 7.0)
        for name, (_, effective, until) in right.items():
            if effective <= now < until:
                other = "b" if name == "a" else "a"
                assert other not in worked or now - worked[other] >= DOUBT_SECONDS or worked[other] < effective - 60
                worked[name] = now
