"""Rules broken one at a time: the simulation has to notice each, or it proves nothing about the rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.copy_world.histories import first_violation
from tests.copy_world.rules import Rules
from tests.property.copy_mutants import DOUBT_MUTANTS, MUTANTS
from tests.property.map_mutants import MAP_MUTANTS

_SEEDS = range(4000)
_NEAR = 40
"""How many histories are looked at from one on that is known to show it: what else changes moves it."""
_FOUND = {
    "batches that overlap believed": 102,
    "missing offsets believed in a log that no cleaner works on": 19,
    "a leader epoch above the leader's believed": 44,
    "what was doubted is not looked at again": 6,
    "map not refreshed before an attach": 5,
    "remap not recorded before copying": 5,
    "displaced batch not looked at": 28,
    "surplus markers used up by a shorter hole, unrecorded": 17,
    "an attach at each hole, however short": 0,
    "walk counts markers": 8,
    "walk counts aborted records": 44,
    "walk counts what was given up": 182,
    "walk counts what lies before its beginning": 368,
    "walk begins one offset late": 1,
    "walk begins within a gap that was given up": 427,
    "what was given up since the walk is no news": 77,
    "what was taken over compared": 1,
    "attach trusts log end and lastSequence apart": 122,
    "attach trusts the end of an empty log": 122,
    "attach trusts a stored epoch however old": 101,
    "attach compares no records": 163,
    "more than five in flight": 230,
    "base offset of the answer not checked": 155,
    "next sequence restarted at 0": 1,
    "old record times taken for guarded": 3,
    "a fill beside batches in flight": 11,
    "an attach does not know what was given up": 49,
    "no claim needed for unguarded work": 3,
    "guarded work goes on while another daemon lets the state age": 78,
}
"""The first history that shows each; one without is looked for by the long suite alone."""
_HISTORIES: dict[str, tuple[Rules, dict[str, Any]]] = {
    **{name: (rules, {"doubtful": True}) for name, rules in DOUBT_MUTANTS.items()},
    **{name: (rules, {"offsets": offsets}) for name, (rules, offsets) in MAP_MUTANTS.items()},
    **{name: (rules, {"backlog": backlog}) for name, (rules, backlog) in MUTANTS.items()},
}


@pytest.mark.parametrize("name", _FOUND)
def test_the_simulation_catches(name: str) -> None:
    """Within a few histories of the first that is known to show it."""
    rules, kind = _HISTORIES[name]
    first = _FOUND[name]

    assert first_violation(rules, range(first, first + _NEAR), **kind) is not None


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", _HISTORIES)
def test_the_simulation_catches_from_the_first_history_on(name: str) -> None:
    """Within a fixed number of seeded histories."""
    rules, kind = _HISTORIES[name]

    assert first_violation(rules, _SEEDS, **kind) is not None
