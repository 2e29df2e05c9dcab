"""Histories: the events of a world, seeded sequences of them, and the calm after the storm."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Phase
from replicator.errors import BugError
from replicator.model.spec import Offsets
from replicator.model.states import Reason
from tests.property.model_broker import ALIEN_RECORD, EXPIRY_MS, HOUR_MS, LIES, LIES_SEEN_BESIDE_HOLES
from tests.property.model_daemon import Daemon
from tests.property.model_rules import Connection, Rules, Violation
from tests.property.model_state import FATES
from tests.property.model_world import World

Pick = Callable[[int], int]
"""Chooses a number below the given one: hypothesis in the state machine, a seeded generator elsewhere."""

DAEMONS_MAX = 2
ODD = ("control", "control", "hole", "gap", "end", "append_time", "old_magic", "aborted")
STEPS_MS = (0, 500, 5_000, 20_000, 31_000, 61_000, 600_000, HOUR_MS, 25 * HOUR_MS)
_BACKLOG_SHARE = 0.5
_LONG_LIVED_SHARE = 0.4
_GAPS_SHARE = 0.5
_TAKEN_OVER_SHARE = 0.25
_COMPACTED_SHARE = 0.5
_CALM_ROUNDS = 40
_CALM_ROUNDS_PER_BATCH = 12
_CALM_STEP_MS = 5_000


def _daemon(world: World, pick: Pick) -> Daemon | None:
    return world.daemons[pick(len(world.daemons))] if world.daemons else None


def _connections(world: World) -> list[Connection]:
    alive = [daemon.connection for daemon in world.daemons]
    return [connection for connection in alive if connection is not None and connection.undelivered] + world.zombies


def _timestamp(world: World, pick: Pick) -> int:
    age = (0, 0, 1_000, 23 * HOUR_MS, 2 * EXPIRY_MS, 30 * EXPIRY_MS)[pick(6)]
    return world.now_ms - age


# -- the source -----------------------------------------------------------------------------------------------------


def append_fresh(world: World, pick: Pick) -> None:
    """Append a batch stamped now."""
    world.source.append(1 + pick(3), world.now_ms, "transactional" if pick(8) == 1 else "")


def append_old(world: World, pick: Pick) -> None:
    """Append a batch with record times that the broker forgets at once, or hardly remembers."""
    world.source.append(1 + pick(3), _timestamp(world, pick))


def append_odd(world: World, pick: Pick) -> None:
    """Append a batch that cannot be passed on as it is."""
    count, odd = 1 + pick(3), ODD[pick(len(ODD))]
    # Where no cleaner works any more, it left no end without a record.
    world.source.append(count, world.now_ms, "gap" if odd == "end" and not world.compacted else odd)


def append_by_a_flow(world: World, pick: Pick) -> None:
    """Let another flow append a batch to the source."""
    if world.shared:
        world.source.append(1 + pick(3), _timestamp(world, pick), "by_a_flow")


def lie(world: World, pick: Pick) -> None:
    """Let the next answer of the source be spoiled on its way."""
    lies = LIES_SEEN_BESIDE_HOLES if world.compacted else LIES
    world.lie = (lies[pick(len(lies))], pick(12))


def append_too_large(world: World, pick: Pick) -> None:
    """Append a batch that cannot be copied."""
    world.source.append(1 + pick(3), world.now_ms, "too_large")


def bump_source_epoch(world: World, _pick: Pick) -> None:
    """Elect a source leader cleanly."""
    world.source.bump_epoch()


def retain(world: World, pick: Pick) -> None:
    """Let retention move the source's start; before the first attach that would be a seed's matter."""
    begun = world.active or world.offsets is Offsets.MAPPED
    if begun and world.source.batches:
        _keep_what_markers_hide(world, world.source.batches[pick(len(world.source.batches))].header.next_offset)


def _keep_what_markers_hide(world: World, offset: int) -> None:
    """Move the source's start; where surplus markers may stand, not over a record that was not copied.

    This is an assumption: a marker too many on the target stands for the lost record, and nothing tells any more.
    So is that retention does not take what an unclean election brought before anybody has compared it.
    """
    if world.source.truncated:
        return
    world.source.delete_records(min(offset, world.next_to_copy()) if world.haunted else offset)


def truncate(world: World, pick: Pick) -> None:
    """Elect a source leader uncleanly, in a moment when nothing of the lost history is on its way.

    This is an assumption: a repeat of the same sequences is acknowledged whatever its content (KAFKA.md A28), so a
    batch of the lost history that is still on its way when another daemon writes the new one cannot be told from it.
    Nor does a daemon notice that has read nothing yet, and has no leader epoch that it could name; nor anybody where
    others write to the target, and retention took all that was copied: there is nothing to compare.
    """
    if world.shared and world.active and not any(offset >= world.target.start for offset, _ in world.copied()):
        return
    unread = any(daemon.copy.is_copying() and daemon.copy.last_epoch < 0 for daemon in world.daemons)
    if world.source.batches and not _on_its_way(world) and not unread and not world.given_up:
        world.source.truncate(pick(len(world.source.batches)))


def recreate(world: World, _pick: Pick) -> None:
    """Delete the source's topic and create it again."""
    world.source.recreate()


# -- the target -----------------------------------------------------------------------------------------------------


def deliver(world: World, pick: Pick) -> None:
    """Let the target take a request, of an open connection or of a closed one."""
    connections = _connections(world)
    if connections:
        world.deliver(connections[pick(len(connections))])


def drop_zombie(world: World, pick: Pick) -> None:
    """Let what a closed connection carried vanish."""
    if world.zombies:
        world.drop(world.zombies[pick(len(world.zombies))])


def commit(world: World, pick: Pick) -> None:
    """Let the target's replicas follow."""
    world.target.commit((1, 2, None)[pick(3)])


def change_leader(world: World, pick: Pick) -> None:
    """Elect a target leader that has some of the tail."""
    world.target.change_leader(pick(6), 1 + pick(5), world.now_ms)


def expire(world: World, _pick: Pick) -> None:
    """Sweep producer state by record time."""
    world.target.expire(world.now_ms)


def write_alien(world: World, _pick: Pick) -> None:
    """Let someone else write to the target."""
    world.alien = True
    world.target.append_alien(ALIEN_RECORD, world.now_ms)


def write_beside(world: World, _pick: Pick) -> None:
    """Let an application write to the target, where that is as it should be."""
    if world.shared:
        world.target.append_alien(ALIEN_RECORD, world.now_ms)


def ghost(world: World, pick: Pick) -> None:
    """Let markers of an earlier fill land late or twice: beyond what any wait for them assumes."""
    if world.target.fill_epoch and world.source.start <= world.next_to_copy():
        world.haunted = True
        world.target.fill(world.target.term, world.target.fill_epoch, 1 + pick(2), world.now_ms, lambda *_: None)


def deny_fills(world: World, _pick: Pick) -> None:
    """Take the right to write markers away, or give it back."""
    world.target.fills_denied = not world.target.fills_denied


def retain_target(world: World, pick: Pick) -> None:
    """Let retention move the target's start.

    This is an assumption where others write there, too: not over all that was copied of a history that the source lost,
    before anybody has compared it. Then nothing is left to tell.
    """
    if world.shared and world.source.truncated:
        return
    world.target.retain_from(pick(world.target.log_end + 1))


def retain_copied(world: World, pick: Pick) -> None:
    """Let retention move both starts over what is copied, as it does where both sides keep pace."""
    if world.active and not world.source.truncated:
        world.source.delete_records(world.next_to_copy() - pick(3))
        world.target.retain_from(world.target.log_end - pick(3))


def delete_records(world: World, pick: Pick) -> None:
    """Let an administrator move the source's start, into a batch perhaps."""
    if world.active or world.offsets is Offsets.MAPPED:
        _keep_what_markers_hide(world, pick(world.source.end + 1))


# -- operators and the state topic ------------------------------------------------------------------------------------


def give_up(world: World, pick: Pick) -> None:
    """Let an operator give up what a daemon stopped at, in a moment when nothing of it is on its way.

    This is an assumption where retention took what is given up: a daemon that had read it before, and still sends it
    when another has gone on behind the gap, sends another record with the same sequence (see `truncate`).
    And nothing is given up that was copied: a walk would leave it out on one side only.
    """
    daemon = _daemon(world, pick)
    if daemon is None or daemon.copy.phase is not Phase.FAULTED or world.source.truncated:
        return  # what it stopped at is another history's by now
    reason, source = daemon.copy.reason, world.source
    if reason is Reason.RECORD_TOO_LARGE:
        at = daemon.copy.next_offset
        sizes = [batch.header for batch in source.batches if batch.header.base_offset <= at < batch.header.next_offset]
        ranges = [(header.base_offset, header.next_offset) for header in sizes]
    elif reason is Reason.OVERTAKEN_BY_RETENTION and not daemon.lost_place and not _on_its_way(world):
        ranges = [(min(world.next_to_copy(), source.start), source.start)]
    else:
        return
    if any(first < world.next_to_copy() for first, _ in ranges):
        ranges = []
    for first, end in ranges:
        world.given_up.append((first, end))
        world.state.give_up(first, end)
    for each in world.daemons:
        if each.copy.reason is reason:
            each.resolve()


def accept(world: World, pick: Pick) -> None:
    """Let an operator keep a target that is no copy any more, and go on behind it, or begin anew; nobody copies."""
    daemon = _daemon(world, pick)
    accepted = {Reason.SOURCE_TRUNCATED, Reason.CONTENT_MISMATCH, Reason.FOREIGN_WRITER}
    if (
        daemon is None
        or daemon.copy.phase is not Phase.FAULTED
        or daemon.copy.reason not in accepted
        or _on_its_way(world)
        or any(each.copy.is_copying() for each in world.daemons)
        or world.target.high_watermark != world.target.log_end
        or world.source.incarnation
    ):
        return
    if pick(2):
        world.begin_anew()
    else:
        world.accept()
    for each in world.daemons:
        each.resolve()


def persist(world: World, pick: Pick) -> None:
    """Let a daemon write blocks of its map, if it holds the claim."""
    daemon = _daemon(world, pick)
    if daemon is not None:
        daemon.persist(FATES[pick(len(FATES))])


def deliver_late(world: World, pick: Pick) -> None:
    """Let a plain append to the state topic arrive late, or for the second time."""
    if world.state.late:
        _, changes = world.state.late.pop(pick(len(world.state.late)))
        world.state.apply(changes)


def break_state(world: World, _pick: Pick) -> None:
    """Let the state topic be out of reach, or come back."""
    world.state.down = not world.state.down


def _on_its_way(world: World) -> bool:
    return bool(world.zombies) or any(
        daemon.copy.outstanding or daemon.copy.queued_bytes or daemon.fetched for daemon in world.daemons
    )


# -- the daemons ------------------------------------------------------------------------------------------------------


def _each(act: Callable[[Daemon], object]) -> Callable[[World, Pick], None]:
    def event(world: World, pick: Pick) -> None:
        daemon = _daemon(world, pick)
        if daemon is not None:
            act(daemon)

    return event


def start(world: World, _pick: Pick) -> None:
    """Start a daemon beside the other."""
    if len(world.daemons) < DAEMONS_MAX:
        world.start_daemon()


def kill(world: World, pick: Pick) -> None:
    """Kill a daemon."""
    daemon = _daemon(world, pick)
    if daemon is not None:
        world.kill_daemon(daemon)


def fetch(world: World, pick: Pick) -> None:
    """Let a daemon ask the source."""
    daemon = _daemon(world, pick)
    if daemon is not None:
        daemon.fetch(1 + pick(6))


def send_all(world: World, pick: Pick) -> None:
    """Let a daemon send what it may."""
    daemon = _daemon(world, pick)
    while daemon is not None and daemon.send():
        pass


def work(world: World, pick: Pick) -> None:
    """Let a daemon do at once all that it can without an answer of the target."""
    daemon = _daemon(world, pick)
    if daemon is not None:
        daemon.unpause()
        daemon.work_claim()
        daemon.attach_for_claim()
        _attach_whole(daemon)
        daemon.fetch(1 + pick(4))
        daemon.take()
        while daemon.send():
            pass


def serve(world: World, pick: Pick) -> None:
    """Let the target take, commit and answer all that one daemon sent."""
    daemon = _daemon(world, pick)
    if daemon is None or daemon.connection is None:
        return
    while world.deliver(daemon.connection) or daemon.hear():
        world.target.commit()


def _attach_whole(daemon: Daemon) -> None:
    while daemon.step_attach() and daemon.attaching is not None:
        pass


def record(world: World, pick: Pick) -> None:
    """Let a daemon record the source's leader epoch."""
    daemon = _daemon(world, pick)
    if daemon is not None:
        world.stored_epoch = max(world.stored_epoch, daemon.copy.last_epoch)


def advance(world: World, pick: Pick) -> None:
    """Let time pass; whoever may keep the claim alive does, mostly."""
    kept_alive = pick(4)
    world.advance(STEPS_MS[pick(len(STEPS_MS))])
    if kept_alive:
        renew(world)


def renew(world: World) -> None:
    """Let the holder of the claim renew it."""
    for daemon in world.daemons:
        if world.claim is not None and world.claim.holder == daemon.name:
            daemon.work_claim()
            daemon.persist(FATES[0])


EVENTS: dict[str, tuple[int, Callable[[World, Pick], None]]] = {
    "append_fresh": (10, append_fresh),
    "append_old": (6, append_old),
    "append_odd": (6, append_odd),
    "append_too_large": (1, append_too_large),
    "bump_source_epoch": (1, bump_source_epoch),
    "retain": (1, retain),
    "truncate": (1, truncate),
    "recreate": (1, recreate),
    "deliver": (22, deliver),
    "drop_zombie": (1, drop_zombie),
    "commit": (14, commit),
    "change_leader": (2, change_leader),
    "expire": (6, expire),
    "write_alien": (1, write_alien),
    "write_beside": (0, write_beside),
    "append_by_a_flow": (0, append_by_a_flow),
    "start": (3, start),
    "kill": (1, kill),
    "work_claim": (6, _each(Daemon.work_claim)),
    "attach_for_claim": (3, _each(Daemon.attach_for_claim)),
    "attach": (24, _each(Daemon.step_attach)),
    "fetch": (12, fetch),
    "take": (12, _each(Daemon.take)),
    "send": (10, _each(Daemon.send)),
    "send_all": (5, send_all),
    "hear": (14, _each(Daemon.hear)),
    "work": (24, work),
    "serve": (10, serve),
    "lose_connection": (3, _each(Daemon.lose_connection)),
    "notice_leader": (2, _each(Daemon.notice_leader)),
    "pause": (1, _each(Daemon.pause)),
    "unpause": (3, _each(Daemon.unpause)),
    "record": (1, record),
    "advance": (8, advance),
    "follow": (0, _each(lambda daemon: daemon.view.follow())),
    "give_up": (0, give_up),
    "accept": (0, accept),
    "ghost": (0, ghost),
    "deny_fills": (0, deny_fills),
    "delete_records": (0, delete_records),
    "retain_target": (0, retain_target),
    "retain_copied": (0, retain_copied),
    "persist": (0, persist),
    "deliver_late": (0, deliver_late),
    "break_state": (0, break_state),
    "lie": (0, lie),
    "succeed": (0, _each(Daemon.succeed)),
}
"""Every event, with its usual weight."""

MORE: dict[Offsets, dict[str, int]] = {
    Offsets.IDENTICAL: {},
    Offsets.AUTO: {"follow": 4, "ghost": 3, "deny_fills": 1, "persist": 5, "deliver_late": 2, "break_state": 1},
    Offsets.MAPPED: {
        "follow": 4,
        "accept": 4,
        "ghost": 1,
        "retain_target": 3,
        "retain_copied": 0,
        "delete_records": 1,
        "persist": 8,
        "deliver_late": 3,
        "break_state": 1,
    },
}
"""Weights of what can only happen, or do harm, where offsets may differ."""
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
_GAPS = {"append_too_large": 2, "retain": 1, "give_up": 8}

RARE = ("append_too_large", "retain", "truncate", "recreate", "write_alien")
"""Events that end a copy, or most of them: only some histories have them."""
MORE_EVENTS = sorted({name for weights in MORE.values() for name in weights})
USUAL = sorted(set(EVENTS) - set(MORE_EVENTS) - set(RARE) - {"lie", "succeed"})


# -- calm -----------------------------------------------------------------------------------------------------------


def calm(world: World) -> None:
    """Stop all faults and let the daemons work; check that they finish, within bounded rounds.

    Raises:
        Violation: The target does not become equal, and nothing explains why.
    """
    if not world.daemons:
        world.start_daemon()
    world.state.down = False
    world.lie = None
    for connection in list(world.zombies):
        while world.deliver(connection):
            world.target.commit()
    for daemon in world.daemons:
        daemon.unpause()
    rounds = _CALM_ROUNDS + _CALM_ROUNDS_PER_BATCH * len(world.source.batches)
    for _ in range(rounds):
        _calm_round(world)
        if _is_done(world):
            return
    states = [(daemon.name, daemon.copy.phase, daemon.copy.reason, daemon.copy.detail) for daemon in world.daemons]
    raise Violation(f"{world.target.high_watermark} of {world.source.end} after {rounds} calm rounds: {states}")


def _calm_round(world: World) -> None:
    for daemon in world.daemons:
        daemon.unpause()
        daemon.work_claim()
        daemon.notice_leader()
        daemon.attach_for_claim()
        _attach_whole(daemon)
        daemon.fetch(6)
        daemon.take()
        while daemon.send():
            pass
        connection = daemon.connection
        while connection is not None and (world.deliver(connection) or daemon.hear()):
            world.target.commit()
        world.check()
    world.target.commit()
    world.advance(_CALM_STEP_MS)


def _is_done(world: World) -> bool:
    if world.offsets is Offsets.IDENTICAL:
        if world.target.high_watermark == world.source.end and world.target.log_end == world.source.end:
            return True
    elif _is_equal(world):
        return True
    if world.alien and world.target.log_end > world.source.end:
        return True  # nothing of ours is left to be sent, so that nothing of ours can meet the stranger's record
    # The holder of the claim may have stopped with a reason; the other one then waits for a claim it need not get.
    copies = [daemon.copy for daemon in world.daemons]
    stopped = [copy for copy in copies if copy.phase is Phase.FAULTED]
    return bool(stopped) and all(_may_rest(world, copy) for copy in copies if copy not in stopped)


def _may_rest(world: World, copy: PartitionCopy) -> bool:
    """Return whether a daemon has nothing to do while another one has stopped."""
    if copy.waits_for_claim or copy.fill_due():
        return True
    at_the_end = copy.is_copying() and copy.idle and copy.acked_offset == world.source.end
    return world.offsets is not Offsets.IDENTICAL and at_the_end  # it cannot see what the other one found


def _is_equal(world: World) -> bool:
    target, end = world.target, world.source.end
    copied = [record for _, record in world.copied() if record > 0]  # a stranger's are not
    return (
        target.high_watermark == target.log_end
        and copied == world.wanted(world.source.histories[-1])
        and any(daemon.copy.is_copying() and daemon.copy.acked_offset == end for daemon in world.daemons)
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
    "work_claim": 10,
    "attach_for_claim": 5,
    "attach": 34,
    "fetch": 12,
    "take": 12,
    "send": 12,
    "send_all": 4,
    "hear": 14,
    "work": 40,
    "serve": 24,
    "lose_connection": 6,
    "notice_leader": 3,
    "advance": 8,
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
    }.items():
        weights[name] *= chance.choice(factors)
    if backlog or chance.random() < _BACKLOG_SHARE:
        weights = dict.fromkeys(weights, 0) | _BACKLOG
        weights["change_leader"] = chance.choice((0, 3))
    return Profile(steps, weights, chance.random() < 0.5, chance.choice((1, 2, 2)))


def run_history(
    seed: int,
    rules: Rules,
    steps: int = 90,
    *,
    backlog: bool = False,
    tail_may_stay: bool = False,
    offsets: Offsets = Offsets.IDENTICAL,
    shared: bool = False,
    doubtful: bool = False,
) -> World:
    """Run one history and the calm after it.

    Raises:
        Violation: The invariant broke, or the copy never finished.
    """
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice of events, no secret
    kind = profile(chance, steps, backlog=backlog)
    if not seed % 2:
        kind.weights["append_odd"] = 0  # histories without fills go deeper elsewhere
    world = World(rules=rules, one_at_a_time=kind.one_at_a_time)
    world.target.tail_may_stay = tail_may_stay
    if offsets is not Offsets.IDENTICAL:
        _let_offsets_differ(world, kind.weights, chance, offsets)
    elif seed % 8 == 1:
        kind.weights.update(_GAPS)
    if shared:
        world.shared = world.log_end_shown = True
        kind.weights.update(_SHARED)
    if doubtful:
        world.compacted = chance.random() < _COMPACTED_SHARE
        kind.weights.update(_DOUBTFUL)
        if not world.compacted:
            kind.weights["truncate"] = 0  # the model would leave a gap at the end, which only a cleaner leaves
    for _ in range(kind.daemons):
        world.start_daemon()
    if kind.daemons == 1:
        kind.weights["start"] = 0 if not kind.weights["kill"] else 1
    names = list(kind.weights)
    for name in chance.choices(names, [kind.weights[name] for name in names], k=steps):
        EVENTS[name][1](world, chance.randrange)
        world.check()
    calm(world)
    return world


def _let_offsets_differ(world: World, weights: dict[str, int], chance: random.Random, offsets: Offsets) -> None:
    """Choose what is special about a history whose offsets need not be the source's."""
    world.offsets = offsets
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
        world.take_over(1 + chance.randrange(3))


def first_violation(
    rules: Rules,
    seeds: range,
    steps: int = 90,
    *,
    backlog: bool = False,
    tail_may_stay: bool = False,
    offsets: Offsets = Offsets.IDENTICAL,
    shared: bool = False,
    doubtful: bool = False,
) -> str | None:
    """Return how the first of these histories that goes wrong does so, or None."""
    for seed in seeds:
        try:
            run_history(
                seed,
                rules,
                steps,
                backlog=backlog,
                tail_may_stay=tail_may_stay,
                offsets=offsets,
                shared=shared,
                doubtful=doubtful,
            )
        except (Violation, BugError) as violation:
            return f"seed {seed}: {violation}"
    return None
