"""All histories of a small world, or the first one that shows something wrong."""

from __future__ import annotations

from collections import deque

from tests.property.switch_effects import SOUND, Machine
from tests.property.switch_executor import events, finish
from tests.property.switch_world import Violation, World, check, check_end


def search(start: World, machine: Machine = SOUND, *, worlds_max: int = 400_000) -> tuple[int, list[str] | None]:
    """Look at every world that can be reached, and at how it ends if one healthy executor goes on from there.

    Returns:
        How many worlds there are, and the history that leads to something wrong, the shortest one, with what it is.
    """
    came: dict[World, tuple[World, str] | None] = {start: None}
    ends: set[World] = set()
    todo = deque([start])
    while todo:
        world = todo.popleft()
        wrong = _wrong(world, machine, ends)
        if wrong is not None:
            return len(came), [*_history(came, world), wrong]
        try:
            for label, after in events(world, machine):
                if after not in came:
                    came[after] = (world, label)
                    todo.append(after)
        except Violation as violation:
            return len(came), [*_history(came, world), str(violation)]
        if len(came) > worlds_max:
            raise AssertionError(f"more than {worlds_max} worlds")
    return len(came), None


def _wrong(world: World, machine: Machine, ends: set[World]) -> str | None:
    try:
        check(world)
        end = finish(world, machine)
        if end not in ends:
            ends.add(end)
            check_end(end)
    except Violation as violation:
        return str(violation)
    return None


def _history(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    labels = []
    before = came[world]
    while before is not None:
        labels.append(before[1])
        before = came[before[0]]
    return labels[::-1]
