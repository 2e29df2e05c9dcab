"""The plan of a run: which fault begins and ends when, and where. Pure: draws and a snapshot in, timed steps out.

The same draws make the same plan. Whatever they are,

* one target node is harmed at a time, and the next only some time after: ``acks=all`` stays possible;
* one source node is harmed at a time, for the same reason;
* a thing that is harmed is not harmed in a second way at the same time (one link may be slow while a daemon dies);
* each use begins once, and ends once, within the run.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chaos.faults import RULES, Fault, Place, Snapshot

FIRST_SECONDS = 3.0
"""Before the first fault, so that there is something to disturb."""

PLAN_SECONDS_MIN = FIRST_SECONDS + max(rule.seconds[1] for rule in RULES.values() if rule.seconds is not None)
"""A shorter run has no room for some faults."""

SETTLE_SECONDS = 6.0
"""Between two faults of the nodes of one cluster: the first has to be a replica in sync again."""

GROW_MAX = 2
"""Partitions that one topic may gain."""

DRAWS = 1 << 16
"""Where only the run knows what there is to pick from, a step carries a number below this, and picks by remainder."""

_AT_ONCE_MAX = 3
_GAP_SECONDS = (2.0, 7.0)
_QUIET_SHARE = 0.2
_QUIET_SECONDS = (4.0, 10.0)


class Phase(enum.StrEnum):
    """What a step does."""

    BEGIN = "begin"
    END = "end"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        at_seconds: When, from the start of the faults.
        number: Which use of a fault it belongs to; begin and end share it.
        fault: Which fault.
        phase: Whether it begins or ends here.
        place: Which daemon (from 0), node (from 1), link (0 is the source's) or topic (from 0).
        options: More draws, by name; flags are 0 and 1. Empty at an end.
    """

    at_seconds: float
    number: int
    fault: Fault
    phase: Phase
    place: int
    options: Mapping[str, int] = field(default_factory=dict)


def plan(
    chance: random.Random, snapshot: Snapshot, faults: Sequence[Fault], seconds: float, *, apart_seconds: float = 0.0
) -> tuple[Step, ...]:
    """Return the steps of a run, in order of time.

    Args:
        chance: Where all draws come from.
        snapshot: What there is.
        faults: Which faults to use, each of which the bench can have (`faults.usable`).
        seconds: Length of the run; every fault has ended by then.
        apart_seconds: If not 0, one fault at a time, and so long from its end to the next one.
    """
    planner = _Planner(chance, snapshot, faults, seconds)
    at = FIRST_SECONDS
    while faults and at < seconds:
        if apart_seconds:
            planner.add_one(at)
            at = max([at, *(step.at_seconds for step in planner.steps)]) + apart_seconds
            continue
        if chance.random() < _QUIET_SHARE:
            at += chance.uniform(*_QUIET_SECONDS)
            continue
        for _ in range(chance.randint(1, _AT_ONCE_MAX)):
            planner.add_one(at)
        at += chance.uniform(*_GAP_SECONDS)
    return tuple(sorted(planner.steps, key=lambda step: (step.at_seconds, step.number)))


class _Planner:
    """Deals the faults like cards: each comes up before one comes up again, unless its places are busy."""

    def __init__(self, chance: random.Random, snapshot: Snapshot, faults: Sequence[Fault], seconds: float) -> None:
        self.steps: list[Step] = []
        self._chance = chance
        self._snapshot = snapshot
        self._faults = faults
        self._seconds = seconds
        self._deck: list[Fault] = []
        self._uses = 0
        self._free_at: dict[tuple[str, int], float] = {}
        """Thing to when it may be harmed again."""
        self._grown: dict[int, int] = {}

    def add_one(self, at: float) -> None:
        """Add the next fault of the deck that can begin at that time; none where none can."""
        if not self._deck:
            self._deck = list(self._faults)
            self._chance.shuffle(self._deck)
        for fault in self._deck:
            length = self._chance.uniform(*(RULES[fault].seconds or (0.0, 0.0)))
            places = [place for place in self._places(fault) if self._is_free(fault, place, at)]
            if places and at + length <= self._seconds:
                self._deck.remove(fault)
                self._add(fault, self._chance.choice(places), at, length)
                return

    def _add(self, fault: Fault, place: int, at: float, length: float) -> None:
        self._uses += 1
        options = draw_options(self._chance, fault)
        self.steps.append(Step(round(at, 3), self._uses, fault, Phase.BEGIN, place, options))
        if fault is Fault.GROW:
            self._grown[place] = self._grown.get(place, 0) + 1
        if RULES[fault].seconds is None:
            return
        end = round(at + length, 3)
        self.steps.append(Step(end, self._uses, fault, Phase.END, place))
        nodes = RULES[fault].place in {Place.TARGET_NODE, Place.TARGET_LEADER, Place.SOURCE_NODE}
        for thing in self._things(fault, place):
            self._free_at[thing] = end + (SETTLE_SECONDS if nodes else 0.0)

    def _places(self, fault: Fault) -> list[int]:
        """Return everything it could harm; a leader's place is the draw of a topic."""
        now = self._snapshot
        match RULES[fault].place:
            case Place.DAEMON:
                return list(range(now.daemons))
            case Place.TARGET_NODE:
                return list(range(1, now.target_nodes + 1))
            case Place.SOURCE_NODE:
                return list(range(1, now.source_nodes + 1))
            case Place.LINK:
                return [0, 1]
            case Place.FLOW:
                return [0]
            case Place.TARGET_LEADER | Place.TOPIC:
                topics = range(now.topics)
                return [at for at in topics if fault is not Fault.GROW or self._grown.get(at, 0) < GROW_MAX]

    def _is_free(self, fault: Fault, place: int, at: float) -> bool:
        return all(self._free_at.get(thing, 0.0) <= at for thing in self._things(fault, place))

    def _things(self, fault: Fault, place: int) -> list[tuple[str, int]]:
        """Return what is taken as long as the fault lasts."""
        match RULES[fault].place:
            case Place.DAEMON:
                return [("daemon", place)]
            case Place.TARGET_NODE | Place.TARGET_LEADER:
                return [("target nodes", 0)]
            case Place.SOURCE_NODE:
                return [("source nodes", 0)]
            case Place.LINK:
                return [("link", place)]
            case Place.FLOW:  # the command needs a daemon that answers
                return [("daemon", number) for number in range(self._snapshot.daemons)]
            case Place.TOPIC:
                return []


def draw_options(chance: random.Random, fault: Fault) -> dict[str, int]:
    """Return the draws of one use of a fault. Times in ms (slicer: us), sizes in bytes, bandwidth in KB/s."""
    drawn = {name: draw(chance) for name, draw in _DRAWS.get(fault, {}).items()}
    for name, of in _HALVES.items():
        if of in drawn:
            drawn[name] = drawn[of] // 2
    return drawn


def _any(chance: random.Random) -> int:
    return chance.randrange(DRAWS)


def _flag(chance: random.Random) -> int:
    return chance.randrange(2)


def _one_of(*choices: int) -> Callable[[random.Random], int]:
    return lambda chance: chance.choice(choices)


def _bytes(chance: random.Random) -> int:
    """Draw a size: every order of magnitude is as likely, from within a header to a megabyte."""
    return round(10 ** chance.uniform(1.0, 6.0))


_LINK = {"upstream": _flag, "node": _any}
_DRAWS: Mapping[Fault, Mapping[str, Callable[[random.Random], int]]] = {
    Fault.DAEMON_KILL: {"wipe": _flag},
    Fault.TARGET_KILL: {"partition": _any},
    Fault.LATENCY: {**_LINK, "latency": _one_of(50, 200, 1000)},
    # What kernels and Toxiproxy buffer has to pass within the longest hold.
    Fault.BANDWIDTH: {**_LINK, "rate": _one_of(1000, 2000, 4000)},
    Fault.BLACK_HOLE: {**_LINK, "timeout": _one_of(0)},
    Fault.RESET_PEER: {**_LINK, "timeout": _one_of(0, 100, 500)},
    Fault.SLICER: {**_LINK, "average_size": _one_of(64, 256, 1024), "delay": _one_of(0, 10, 100)},
    Fault.LIMIT_DATA: {**_LINK, "bytes": _bytes},
    Fault.CONFIG: {"setting": _any, "value": _any},
    Fault.DELETE_RECORDS: {"partition": _any, "percent": _one_of(10, 50, 90, 100)},
    Fault.FLOW_PAUSE: {"daemon": _any},
}
_HALVES = {"jitter": "latency", "size_variation": "average_size"}
"""Attributes of toxics that follow from another one."""
