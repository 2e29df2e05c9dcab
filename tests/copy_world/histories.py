"""Histories: seeded sequences of events, and the calm after the storm."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Phase
from replicator.errors import BugError
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from tests.copy_world.events import EVENTS, MORE, RARE
from tests.copy_world.handovers import HANDOVERS
from tests.copy_world.home import at_home
from tests.copy_world.moves import MOVING, mend, quiet_second
from tests.copy_world.relay import relay
from tests.copy_world.rules import SOUND, Rules, Violation
from tests.copy_world.steps import attend, begin, up
from tests.copy_world.target_log import ALIEN_RECORD
from tests.copy_world.world import World

_BACKLOG_SHARE = 0.5
_LONG_LIVED_SHARE = 0.4
_GAPS_SHARE = 0.5
_TAKEN_OVER_SHARE = 0.25
_COMPACTED_SHARE = 0.5
_CALM_ROUNDS = 40
_CALM_ROUNDS_PER_BATCH = 12
_CALM_STEP_MS = 5_000
_AGREE_SECONDS = 60
_WAITS = frozenset({Reason.WAITING_FOR_CLAIM, Reason.WAITING_FOR_DOUBT})
_LONG_LIVED = dict.fromkeys(("retain", "delete_records", "retain_target", "truncate", "recreate", "write_alien"), 0) | {
    "persist": 16,
    "retain_copied": 5,
    "work": 36,
    "serve": 30,
    "kill": 2,
    "start": 4,
}
"""Weights for maps that grow, are written and lose their beginning."""
_RESOLVED = {"truncate": 3, "accept": 12, "persist": 12, "work": 36, "serve": 24, "kill": 2, "start": 4}
"""Weights for sources that lose records, and what operators do about it."""
_SHARED = {"write_beside": 16, "append_by_a_flow": 4, "write_alien": 0, "ghost": 0, "deny_fills": 0}
"""Weights where others write to the target, and flows to the source."""
_DOUBTFUL = {"lie": 8, "succeed": 5, "work": 36, "serve": 24, "append_fresh": 16, "append_odd": 3, "pause": 2}
"""Weights where answers of the source are spoiled, and partitions begin anew while one is on its way."""
_STOPS_ON_LOSS_SHARE = 0.2
_EVENTS = EVENTS | MOVING | HANDOVERS | {"relay": (0, relay)}
_RELAYED = {"relay": 20, "take_up": 8, "kill": 1, "start": 8}
"""Weights for shards that are handed over to a daemon that stood still meanwhile."""
_OVERLAPPING = {name: weight for name, (weight, _) in HANDOVERS.items()} | {"take_up": 8, "start": 8, "kill": 1}
"""Weights for daemons that stop while requests of theirs are on their way, or that overlap."""
_GAPS = {"append_too_large": 2, "retain": 1, "give_up": 8}


# -- calm -----------------------------------------------------------------------------------------------------------


def calm(world: World) -> None:
    """Stop all faults and let the daemons work; check that they finish, within bounded rounds.

    Raises:
        Violation: The target does not become equal, and nothing explains why.
    """
    _end_faults(world)
    rounds = _CALM_ROUNDS + _CALM_ROUNDS_PER_BATCH * max(len(each.source.batches) for each in world.partitions)
    for _ in range(rounds):
        _calm_round(world)
        if _is_done(world):
            _check_one_works(world)
            return
    states: list[object] = [
        (each.number, each.target.high_watermark, each.source.end, daemon.name, copy.phase, copy.reason, copy.detail)
        for each in world.each()
        for daemon, copy in ((daemon, daemon.copy) for daemon in up(world))
    ]
    raise Violation(f"not equal after {rounds} calm rounds: {states}")


def _check_one_works(world: World) -> None:
    """Check that of several daemons one alone works on the shard in the end."""
    if not world.moving:
        return
    for _ in range(_AGREE_SECONDS):
        working = [daemon.name for daemon in world.daemons if daemon.works]
        if len(working) == 1:
            return
        quiet_second(world)
    raise Violation(f"{working} work on one shard, {_AGREE_SECONDS} s after all faults have ended")


def _end_faults(world: World) -> None:
    if world.moving:
        mend(world)
    if not world.daemons:
        begin(world)
    world.state.is_down = False
    for each in world.partitions:
        each.lie = None
    for broker in world.brokers.values():
        if broker.is_down:
            world.turn_off(broker.alias)
    for daemon in world.daemons:
        if daemon.is_starved:
            daemon.starve()
    for pipe in list(world.zombies):
        while world.deliver(pipe):
            world.commit()


def _calm_round(world: World) -> None:
    for daemon in world.daemons:
        daemon.take_up()
        if daemon.is_up and daemon.works:
            for _ in world.each():
                daemon.unpause()
            daemon.step_claim()
            daemon.pump.leaders_stale()
        world.settle()
        attend(world, daemon, commits=True)
        world.check()
    world.commit()
    if not world.moving:
        world.advance(_CALM_STEP_MS)
        return
    for _ in range(_CALM_STEP_MS // 1000):
        quiet_second(world)


def _is_done(world: World) -> bool:
    """Return whether every partition is: what stops one of them stops no other."""
    done = [_is_current_done(world) for _ in world.each()]
    return all(done)


def _is_current_done(world: World) -> bool:
    if world.offsets is Offsets.IDENTICAL:
        if world.target.high_watermark == world.source.end and world.target.log_end == world.source.end:
            return True
    elif _is_equal(world):
        return True
    if world.current.alien and world.target.log_end > world.source.end:
        return True  # nothing of ours is left to be sent, so that nothing of ours can meet the stranger's record
    # The holder of the claim may have stopped with a reason; the other one then waits for a claim it need not get.
    copies = [daemon.copy for daemon in up(world)]
    stopped = [copy for copy in copies if copy.phase is Phase.FAULTED]
    return bool(stopped) and all(_may_rest(world, copy) for copy in copies if copy not in stopped)


def _may_rest(world: World, copy: PartitionCopy) -> bool:
    """Return whether a daemon has nothing to do while another one has stopped."""
    waits = copy.reason in _WAITS or copy.phase is Phase.SEEDING  # for the claim of the one that has stopped
    if waits or copy.sending.waits_for_claim or copy.fill_due():
        return True
    at_the_end = copy.is_copying() and copy.sending.idle and copy.acked_offset == world.source.end
    return world.offsets is not Offsets.IDENTICAL and at_the_end  # it cannot see what the other one found


def _is_equal(world: World) -> bool:
    target, end = world.target, world.source.end
    copied = [record for _, record in world.current.copied() if record > 0]  # a stranger's are not
    return (
        target.high_watermark == target.log_end
        and copied == world.current.wanted(world.source.histories[-1])
        and any(daemon.copy.is_copying() and daemon.copy.acked_offset == end for daemon in up(world))
    )


# -- seeded histories -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Profile:
    """What kind of history: how many events, which weights."""

    steps: int
    weights: dict[str, int]
    one_at_a_time: bool
    daemons: int


_BACKLOG = {
    "append_fresh": 2,
    "append_old": 6,
    "append_odd": 3,
    "deliver": 20,
    "drop_zombie": 1,
    "commit": 16,
    "expire": 12,
    "start": 2,
    "kill": 1,
    "step_claim": 10,
    "attach": 34,
    "fetch": 12,
    "take": 12,
    "hear": 14,
    "work": 40,
    "serve": 24,
    "lose_connection": 6,
    "notice_leader": 3,
    "advance": 8,
    "hand_over": 1,
    "take_up": 3,
    "break_target": 1,
}
"""Weights for old record times: the guard is off, and the claim and the doubt time have to do the work."""


def profile(chance: random.Random, steps: int, *, backlog: bool) -> Profile:
    """Choose a kind of history; one that treats all events alike would rarely go deep anywhere."""
    weights = {name: weight for name, (weight, _) in EVENTS.items()}
    kept = chance.choice((None, None, None, *RARE))
    for name in RARE:
        if name != kept:
            weights[name] = 0
    for name, factors in {
        "append_old": (0, 1, 3),
        "change_leader": (0, 1, 3),
        "kill": (0, 1, 4),
        "lose_connection": (0, 1, 3),
        "deliver": (1, 1, 2),
        "commit": (1, 1, 2),
        "expire": (0, 1, 2),
        "pause": (0, 1),
        "hand_over": (0, 1, 2),
        "succeed": (0, 0, 1),
        "starve": (0, 0, 1),
        "break_source": (0, 0, 1),
        "break_target": (0, 0, 1),
    }.items():
        weights[name] *= chance.choice(factors)
    if backlog or chance.random() < _BACKLOG_SHARE:
        weights = dict.fromkeys(weights, 0) | _BACKLOG
        weights["change_leader"] = chance.choice((0, 3))
    return Profile(steps, weights, chance.random() < 0.5, chance.choice((1, 2, 2)))


def run_history(
    seed: int,
    rules: Rules = SOUND,
    steps: int = 90,
    *,
    backlog: bool = False,
    tail_may_stay: bool = False,
    offsets: Offsets = Offsets.IDENTICAL,
    shared: bool = False,
    doubtful: bool = False,
    log_end_shown: bool = False,
    moving: bool = False,
    relayed: bool = False,
    late: bool = False,
    partitions: int = 1,
    overlapping: bool = False,
) -> World:
    """Run one history and the calm after it.

    Raises:
        Violation: The invariant broke, or the copy never finished.
    """
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice of events, no secret
    kind = profile(chance, steps, backlog=backlog)
    if not seed % 2:
        kind.weights["append_odd"] = 0  # histories without fills go deeper elsewhere
    world = World(rules, partitions, one_at_a_time=kind.one_at_a_time, offsets=offsets, shared=shared, moving=moving)
    world.log_end_shown = log_end_shown
    world.stops_on_loss = moving and chance.random() < _STOPS_ON_LOSS_SHARE
    with at_home(world, seed):
        try:
            if relayed:
                kind.weights.update(_RELAYED)
            if overlapping:
                kind.weights.update(_OVERLAPPING)
            if late:
                _begin_late(world, kind.weights, chance)
            _run(world, kind, chance, seed, tail_may_stay=tail_may_stay, doubtful=doubtful)
        except (Violation, BugError) as violation:
            told = f"{steps=}, {backlog=}, {tail_may_stay=}, {offsets=!s}, {shared=}, {doubtful=}, {log_end_shown=}"
            told += f", {moving=}, {relayed=}, {late=}, {partitions=}, {overlapping=}"
            raise Violation(f"seed {seed}: {violation}\nrun_history({seed}, {told})") from violation
    return world


def _run(world: World, kind: Profile, chance: random.Random, seed: int, *, tail_may_stay: bool, doubtful: bool) -> None:
    for each in world.partitions:
        each.target.tail_may_stay = tail_may_stay
    _choose(world, kind.weights, chance, seed, doubtful=doubtful)
    for _ in range(kind.daemons):
        begin(world)
    if world.moving:
        kind.weights.update({name: weight for name, (weight, _) in MOVING.items()})
    elif kind.daemons == 1:
        kind.weights["start"] = 0 if not kind.weights["kill"] else 1
    names = list(kind.weights)
    for name in chance.choices(names, [kind.weights[name] for name in names], k=kind.steps):
        if world.count > 1:
            world.current = world.partitions[chance.randrange(world.count)]
        _EVENTS[name][1](world, chance.randrange)
        world.check()
    calm(world)
    for daemon in list(world.daemons):
        world.kill_daemon(daemon)


def _choose(world: World, weights: dict[str, int], chance: random.Random, seed: int, *, doubtful: bool) -> None:
    """Choose what is special about a history."""
    if world.offsets is not Offsets.IDENTICAL:
        _let_offsets_differ(world, weights, chance, world.offsets)
    elif seed % 8 == 1:
        weights.update(_GAPS)
    if world.shared:
        _share(world, weights, chance)
    if doubtful:
        world.compacted = chance.random() < _COMPACTED_SHARE
        weights.update(_DOUBTFUL)
        if not world.compacted:
            weights["truncate"] = 0  # the model would leave a gap at the end, which only a cleaner leaves


def _begin_late(world: World, weights: dict[str, int], chance: random.Random) -> None:
    """Let retention have taken the source's first records before anything is copied, and go on taking."""
    world.late = True
    for _ in world.each():
        for _ in range(1 + chance.randrange(4)):
            world.source.append(1 + chance.randrange(3), world.now_ms)
        world.source.delete_records(1 + chance.randrange(world.source.end))
    world.check()
    weights["retain"] = 2
    weights["write_alien"] = 0  # retention would take what shows that a stranger has displaced a batch


def _share(world: World, weights: dict[str, int], chance: random.Random) -> None:
    """Let others write to the target, some of them before us."""
    world.log_end_shown = True
    if chance.random() < _TAKEN_OVER_SHARE:
        for _ in world.each():
            for _ in range(1 + chance.randrange(3)):
                world.target.append_alien(ALIEN_RECORD, world.now_ms)
        world.commit()
    weights.update(_SHARED)


def _let_offsets_differ(world: World, weights: dict[str, int], chance: random.Random, offsets: Offsets) -> None:
    """Choose what is special about a history whose offsets need not be the source's."""
    weights.update(MORE[offsets])
    weights["append_odd"] = chance.choice((4, 12, 20))
    if offsets is Offsets.MAPPED and chance.random() < _LONG_LIVED_SHARE:
        weights.update(_LONG_LIVED)
    elif chance.random() < _GAPS_SHARE:
        weights.update(_GAPS)
    elif offsets is Offsets.MAPPED:
        weights.update(_RESOLVED)
    if offsets is Offsets.AUTO:
        world.fill_length_max = chance.choice((2, 5_000_000, 5_000_000))
        weights["deny_fills"] *= chance.choice((0, 0, 1))
    elif chance.random() < _TAKEN_OVER_SHARE:
        for each in world.partitions:
            each.take_over(1 + chance.randrange(3))


def first_violation(rules: Rules, seeds: range, **kind: Any) -> str | None:
    """Return how the first of these histories that goes wrong does so, or None; `kind` is told to `run_history`."""
    for seed in seeds:
        try:
            run_history(seed, rules, **kind)
        except Violation as violation:
            return str(violation)
    return None
