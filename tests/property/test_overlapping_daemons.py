"""Daemons that overlap, or stop while a request of theirs is on its way: whoever goes on waits until it cannot arrive.

Broken on purpose: the guards of a hand-over, each of which some history of these kinds must notice. One is not listed:
a sign of life that is withdrawn although a request is outstanding. It would matter to a holder of the claim that works
beside the daemon that stops, takes itself for alone, and lets the guard end. Whoever begins beside a holder has the
newer lease, and no coordinator grants one while a sign says that the holder works (`Coordinator`, busy shards). So the
holder is one that was asked to end: it gives up its claim or is gone (10 s) before another one has begun, has sent, and
has drained in vain (5 s). In all other cases the claim, which is not released either, keeps everybody from unguarded
work for longer than the request may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replicator.core.work import shard_work
from replicator.engine.copy.pump import Pump
from replicator.engine.flow.assembly.reconcile import Reconciler
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.shards import OnShard
from tests.copy_world.histories import first_violation, run_history
from tests.copy_world.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from replicator.engine.copy.partitions.view import PartitionView

_SHORT = range(6)
_LONG = range(100_000, 102_500)
_NEAR = 20
_SEEDS = range(300)
_STEPS = 60

KINDS: dict[str, dict[str, Any]] = {
    "by hand, old record times": {"overlapping": True, "backlog": True},
    "by leases": {"overlapping": True, "moving": True},
    "by leases, old record times": {"overlapping": True, "moving": True, "backlog": True},
    "by leases, several partitions": {"overlapping": True, "moving": True, "partitions": 2},
}


@pytest.mark.parametrize("name", KINDS)
def test_seeded_histories_keep_the_copy_exact(name: str) -> None:
    """Invariant after every event, equality after every storm."""
    for seed in _SHORT:
        run_history(seed, steps=_STEPS, **KINDS[name])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", KINDS)
def test_many_seeded_histories_keep_the_copy_exact(name: str) -> None:
    """The same, many more and longer."""
    for seed in _LONG:
        run_history(seed, steps=120, **KINDS[name])


async def _alone(_self: OnShard) -> bool:
    """Take no other daemon for present."""
    return True


async def _released(self: ClaimKeeper, *, drained: bool) -> None:
    """Release the claim, whatever is outstanding."""
    del drained
    await _give_back(self, drained=True)


async def _waits_for_nothing(self: Pump, views: Collection[PartitionView], _seconds: float, text: str) -> bool:
    """Hand over at once, and say that nothing is outstanding."""
    for view in views:
        self.pause(view, text)
    return True


async def _waits_for_answers(self: Pump, views: Collection[PartitionView], seconds: float, text: str) -> bool:
    """Take what has no answer to wait for, because its connection was lost, for what cannot arrive."""
    await _drain(self, views, seconds, text)
    return not any(view.copy.sending.outstanding for view in views)


def _begins_without_doubts(self: Reconciler, *given: Any, **named: Any) -> None:
    """Forget what partitions that were removed may have on its way."""
    self._doubts.clear()
    _begin(self, *given, **named)


def _forgets_what_was_attached_since(self: Reconciler, slots: Iterable[PartitionView]) -> None:
    """Doubt only what was not attached since, as if an attach under the guard ended the doubt."""
    for slot in slots:
        kept = slot.copy.sending.outstanding or slot.copy.doubtful
        _forget(self, [slot])
        if not kept:
            self._doubts.pop(slot.source, None)


_drain = Pump.drain
_give_back = ClaimKeeper.give_back
_begin = Reconciler._begin
_forget = Reconciler.forget

MUTANTS: dict[str, tuple[Rules, str, int]] = {
    "a daemon beside is never seen": (Rules(((OnShard, "is_alone", _alone),)), "by leases, old record times", 17),
    "a claim is released whatever is outstanding": (
        Rules(((ClaimKeeper, "give_back", _released),)),
        "by leases, old record times",
        34,
    ),
    "a hand-over waits for nothing": (Rules(((Pump, "drain", _waits_for_nothing),)), "by leases, old record times", 34),
    "a hand-over waits for answers only": (
        Rules(((Pump, "drain", _waits_for_answers),)),
        "by leases, old record times",
        34,
    ),
    "doubts are forgotten with their partition": (
        Rules(((Reconciler, "_begin", _begins_without_doubts),)),
        "by leases, old record times",
        1,
    ),
    "an attach under the guard ends a doubt": (
        Rules(((Reconciler, "forget", _forgets_what_was_attached_since),)),
        "by leases, old record times",
        1,
    ),
    "of two leases of one epoch neither gives way": (
        Rules(((shard_work, "_outranked", lambda _: False),)),
        "by leases",
        3,
    ),
}
"""What is broken, in which kind of history it shows, and the first that is known to show it."""


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_catches(name: str) -> None:
    """Within a few histories of the first that is known to show it."""
    rules, kind, first = MUTANTS[name]

    assert first_violation(rules, range(first, first + _NEAR), steps=_STEPS, **KINDS[kind]) is not None


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_catches_from_the_first_history_on(name: str) -> None:
    """Within a fixed number of seeded histories."""
    rules, kind, _ = MUTANTS[name]

    assert first_violation(rules, _SEEDS, steps=_STEPS, **KINDS[kind]) is not None
