"""Shards that move between real daemons, by hand or by the real leases and signs of life: the copy stays exact."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.engine.copy.partitions.partition import Proof
from replicator.engine.copy.partitions.producer_state import PROVEN_SECONDS_MAX, Guard
from replicator.engine.copy.writing.seeder import Seeder
from replicator.engine.work.shards import Shards
from replicator.model.spec import Offsets
from tests.copy_world.histories import first_violation, run_history
from tests.copy_world.rules import Rules

_SHORT = range(12)
_LONG = range(100_000, 102_500)
_NEAR = 20
_SEEDS = range(2000)

KINDS: dict[str, dict[str, Any]] = {
    "handed over": {"relayed": True},
    "handed over, old record times": {"relayed": True, "backlog": True},
    "by leases": {"moving": True},
    "by leases, old record times": {"moving": True, "backlog": True},
    "by leases, offsets that may differ": {"moving": True, "offsets": Offsets.AUTO},
    "by leases, mapped": {"moving": True, "offsets": Offsets.MAPPED},
    "by leases, handed over": {"moving": True, "relayed": True},
    "seeded": {"late": True},
    "seeded, by leases": {"late": True, "moving": True},
}


@pytest.mark.parametrize("name", KINDS)
def test_seeded_histories_keep_the_copy_exact(name: str) -> None:
    """Invariant after every event, equality after every storm."""
    for seed in _SHORT:
        run_history(seed, **KINDS[name])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", KINDS)
def test_many_seeded_histories_keep_the_copy_exact(name: str) -> None:
    """The same, many more and longer."""
    for seed in _LONG:
        run_history(seed, steps=150, **KINDS[name])


def test_shards_change_hands_in_these_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation in which one daemon keeps its shard for ever would prove little."""
    begun: list[str] = []
    begin = Shards._begin

    async def noted(self: Shards, *given: Any) -> None:
        await begin(self, *given)
        begun.append(self._me)

    monkeypatch.setattr(Shards, "_begin", noted)
    copied = 0
    for seed in _SHORT:
        world = run_history(seed, moving=True, relayed=True)
        copied += len(world.current.copied())

    assert len(begun) > 2 * len(_SHORT)
    assert copied > 5 * len(_SHORT)


def _when_verified(proof: Proof) -> float:
    return proof.verified_at


def _from_any_place(guard: Guard) -> float:
    return 0.0 if guard.claim.effective_since() is not None else guard._now() - PROVEN_SECONDS_MAX


ANY_PLACE = (Guard, "proven_since", _from_any_place)
KEEPS_ANY_PLACE = Rules((ANY_PLACE,))
BELIEVES_REPEATS = Rules((ANY_PLACE, (Proof, "read_at", property(_when_verified, lambda *_: None))))
MUTANTS: dict[str, tuple[Rules, str, int]] = {
    "a place from before the claim is good for ever": (KEEPS_ANY_PLACE, "handed over", 12),
    "an acknowledgement proves where the log ends": (BELIEVES_REPEATS, "handed over, old record times", 13),
    "a seed needs no claim": (Rules(((Seeder, "_may_write", Seeder._goes_on),)), "seeded", 225),
}
"""What is broken, in which kind of history it shows, and the first that is known to show it."""


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_catches(name: str) -> None:
    """Within a few histories of the first that is known to show it."""
    rules, kind, first = MUTANTS[name]

    assert first_violation(rules, range(first, first + _NEAR), **KINDS[kind]) is not None


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_catches_from_the_first_history_on(name: str) -> None:
    """Within a fixed number of seeded histories."""
    rules, kind, _ = MUTANTS[name]

    assert first_violation(rules, _SEEDS, **KINDS[kind]) is not None
