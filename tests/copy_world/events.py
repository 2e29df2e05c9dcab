"""What may happen in a world: to the logs, to the network, to daemons, and by operators."""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller

from replicator.core.copy.values import Phase
from replicator.model.spec import Offsets
from replicator.model.states import Reason
from tests.copy_world.daemon import Daemon
from tests.copy_world.lies import LIES, LIES_SEEN_BESIDE_HOLES
from tests.copy_world.network import Pipe
from tests.copy_world.rules import Violation
from tests.copy_world.source_log import HOUR_MS
from tests.copy_world.target_log import ALIEN_RECORD, EXPIRY_MS
from tests.copy_world.world import World

Pick = Callable[[int], int]
"""Chooses a number below the given one: hypothesis in the state machine, a seeded generator elsewhere."""

DAEMONS_MAX = 2
ODD = ("control", "control", "hole", "gap", "end", "append_time", "old_magic", "aborted")
STEPS_MS = (0, 500, 5_000, 11_000, 21_000, 31_000, 61_000, 600_000, HOUR_MS, 25 * HOUR_MS)


def up(world: World) -> list[Daemon]:
    """Return the daemons that have begun with their partition."""
    return [daemon for daemon in world.daemons if daemon.is_up]


def _daemon(world: World, pick: Pick) -> Daemon | None:
    begun = up(world)
    return begun[pick(len(begun))] if begun else None


def _connections(world: World) -> list[Pipe]:
    produces = [pipe for daemon in world.daemons for pipe in daemon.pipes_for(*PRODUCE) if pipe.undelivered]
    return produces + world.zombies


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
    """Append a batch that cannot be passed on as it is.

    This is an assumption: a cleaner takes nothing of what an unclean election brought before anybody has compared it.
    Then nothing is left to tell.
    """
    count, odd = 1 + pick(3), ODD[pick(len(ODD))]
    if odd in {"gap", "hole", "end"} and world.source.truncated:
        odd = "control"
    # Where no cleaner works any more, it left no end without a record.
    world.source.append(count, world.now_ms, "gap" if odd == "end" and not world.compacted else odd)


def append_by_a_flow(world: World, pick: Pick) -> None:
    """Let another flow append a batch to the source."""
    if world.shared:
        world.source.append(1 + pick(3), _timestamp(world, pick), "by_a_flow")


def lie(world: World, pick: Pick) -> None:
    """Let the next answer of the source be spoiled on its way."""
    lies = LIES_SEEN_BESIDE_HOLES if world.compacted else LIES
    world.current.lie = (lies[pick(len(lies))], pick(12))


def append_too_large(world: World, pick: Pick) -> None:
    """Append a batch that cannot be copied."""
    world.source.append(1 + pick(3), world.now_ms, "too_large")


def bump_source_epoch(world: World, _pick: Pick) -> None:
    """Elect a source leader cleanly."""
    world.source.bump_epoch()


def retain(world: World, pick: Pick) -> None:
    """Let retention move the source's start; before the first attach that would be a seed's matter."""
    begun = world.current.active or world.late or world.offsets is Offsets.MAPPED
    if begun and world.source.batches:
        _keep_what_markers_hide(world, world.source.batches[pick(len(world.source.batches))].header.next_offset)


def _keep_what_markers_hide(world: World, offset: int) -> None:
    """Move the source's start; where surplus markers may stand, not over a record that was not copied.

    This is an assumption: a marker too many on the target stands for the lost record, and nothing tells any more.
    So is that retention does not take what an unclean election brought before anybody has compared it.
    """
    if world.source.truncated:
        return
    world.source.delete_records(min(offset, world.current.next_to_copy()) if world.current.haunted else offset)


def truncate(world: World, pick: Pick) -> None:
    """Elect a source leader uncleanly, in a moment when nothing of the lost history is on its way.

    This is an assumption: a repeat of the same sequences is acknowledged whatever its content (KAFKA_FACTS K5), so a
    batch of the lost history that is still on its way when another daemon writes the new one cannot be told from it.
    Nor does a daemon notice that has read nothing yet, and has no leader epoch that it could name; nor anybody where
    others write to the target, and retention took all that was copied: there is nothing to compare.
    """
    if world.shared and world.current.active and not any(offset >= world.target.start for offset, _ in world.current.copied()):
        return
    unread = any(daemon.copy.is_copying() and daemon.copy.reading.last_epoch < 0 for daemon in up(world))
    if world.source.batches and not _on_its_way(world) and not unread and not world.current.given_up:
        world.source.truncate(pick(len(world.source.batches)))


def recreate(world: World, _pick: Pick) -> None:
    """Delete the source's topic and create it again."""
    for each in world.partitions:
        each.source.recreate()


# -- the target -----------------------------------------------------------------------------------------------------


def deliver(world: World, pick: Pick) -> None:
    """Let the target take what is to be appended, of an open connection or of a closed one."""
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
    world.current.alien = True
    world.target.append_alien(ALIEN_RECORD, world.now_ms)


def write_beside(world: World, _pick: Pick) -> None:
    """Let an application write to the target, where that is as it should be."""
    if world.shared:
        world.target.append_alien(ALIEN_RECORD, world.now_ms)


def ghost(world: World, pick: Pick) -> None:
    """Let markers of an earlier fill land late or twice: beyond what any wait for them assumes."""
    if world.target.fill_epoch and world.source.start <= world.current.next_to_copy():
        world.current.haunted = True
        world.target.fill(world.target.term, world.target.fill_epoch, 1 + pick(2), world.now_ms, lambda *_: None)


def deny_fills(world: World, pick: Pick) -> None:
    """Take the right to write markers away, or give it back."""
    world.markers_denied = not world.markers_denied
    world.coordinator.denies = world.markers_denied and not pick(2)


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
    if world.current.active and not world.source.truncated:
        world.source.delete_records(world.current.next_to_copy() - pick(3))
        world.target.retain_from(world.target.log_end - pick(3))


def delete_records(world: World, pick: Pick) -> None:
    """Let an administrator move the source's start, into a batch perhaps."""
    if world.current.active or world.late or world.offsets is Offsets.MAPPED:
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
        at = daemon.copy.reading.next_offset
        sizes = [batch.header for batch in source.batches if batch.header.base_offset <= at < batch.header.next_offset]
        ranges = [(header.base_offset, header.next_offset) for header in sizes]
    elif reason is Reason.OVERTAKEN_BY_RETENTION and not daemon.noted[world.current.number].lost_place and not _on_its_way(world):
        ranges = [(min(world.current.next_to_copy(), source.start), source.start)]
    else:
        return
    if any(first < world.current.next_to_copy() for first, _ in ranges):
        ranges = []
    for first, end in ranges:
        world.current.give_up(first, end)
    for each in up(world):
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
        or any(each.copy.is_copying() for each in up(world))
        or world.target.high_watermark != world.target.log_end
        or world.source.incarnation
    ):
        return
    if pick(2) and world.count == 1:
        world.current.begin_anew()
    else:
        world.current.accept()
    for each in up(world):
        each.resolve()


def persist(world: World, pick: Pick) -> None:
    """Let a daemon write blocks of its map, if it holds the claim; mostly they arrive."""
    daemon = _daemon(world, pick)
    if daemon is not None:
        daemon.persist()
        world.settle()
        if pick(4):
            attend(world, daemon, *CONTROL)
        world.check_blocks()


def break_state(world: World, _pick: Pick) -> None:
    """Let the state topic be out of reach, or come back."""
    world.state.is_down = not world.state.is_down


def _on_its_way(world: World) -> bool:
    pipes = [pipe for daemon in world.daemons for pipe in daemon.pipes_for(*FETCH, *PRODUCE)]
    return (
        bool(world.zombies)
        or any(pipe.has_answer or (pipe.kind in PRODUCE and pipe.unanswered) for pipe in pipes)
        or any(daemon.copy.sending.outstanding or daemon.copy.sending.queued_bytes for daemon in up(world))
    )


# -- the daemons ------------------------------------------------------------------------------------------------------


def _each(name: str) -> Callable[[World, Pick], None]:
    act = methodcaller(name)

    def event(world: World, pick: Pick) -> None:
        daemon = _daemon(world, pick)
        if daemon is not None and daemon.is_up:
            act(daemon)
            world.settle()

    return event


def start(world: World, _pick: Pick) -> None:
    """Start a daemon beside the other."""
    if len(world.daemons) < DAEMONS_MAX + world.moving:  # one may be about to leave
        begin(world)


def begin(world: World) -> None:
    """Start a daemon, and let it find its way at once."""
    attend(world, world.start_daemon(), *CONTROL)


def kill(world: World, pick: Pick) -> None:
    """Kill a daemon."""
    daemon = _daemon(world, pick)
    if daemon is not None:
        world.kill_daemon(daemon)


CONTROL = ("source None", "source control", "source look", "target None", "target control", "target state")
FETCH = ("source fetch",)
PRODUCE = ("target produce",)
_ROUNDS_MAX = 400
_ATTACH_STEPS_MAX = 8
_MOMENTS = 2
_MOMENT_MS = 60


def attend(world: World, daemon: Daemon, *purposes: str, commits: bool = False) -> None:
    """Let brokers take, and a daemon hear, all that goes over some of its connections."""
    for _ in range(_ROUNDS_MAX):
        moved = False
        if commits:
            world.commit()
        for pipe in daemon.pipes_for(*purposes):
            if pipe.undelivered and world.deliver(pipe):
                moved = True
                if commits:
                    world.commit()
            moved |= world.hear(pipe)
        if not moved:
            return
    raise Violation(f"{daemon.name} never comes to rest: {[(p.purpose, p.unanswered) for p in daemon.pipes]}")


def _one(world: World, pick: Pick, *purposes: str) -> None:
    """Let one request be taken, or one answer arrive."""
    daemon = world.daemons[pick(len(world.daemons))] if world.daemons else None
    pipes = [pipe for pipe in daemon.pipes_for(*purposes) if pipe.unanswered] if daemon is not None else []
    if pipes:
        pipe = pipes[pick(len(pipes))]
        if not world.hear(pipe):
            world.deliver(pipe)


def attach(world: World, pick: Pick) -> None:
    """Let an attach, a claim or a fill go some steps on."""
    for _ in range(1 + pick(_ATTACH_STEPS_MAX)):
        _one(world, pick, *CONTROL)


def carry(world: World, pick: Pick) -> None:
    """Let anything that is on its way arrive."""
    _one(world, pick)


def fetch(world: World, pick: Pick) -> None:
    """Let the source take what a daemon asks."""
    daemon = _daemon(world, pick)
    for pipe in daemon.pipes_for(*FETCH) if daemon is not None else ():
        world.deliver(pipe)


def take(world: World, pick: Pick) -> None:
    """Let a daemon hear what the source gives."""
    daemon = _daemon(world, pick)
    for pipe in daemon.pipes_for(*FETCH) if daemon is not None else ():
        world.hear(pipe)


def hear(world: World, pick: Pick) -> None:
    """Let an answer of the target arrive."""
    daemon = _daemon(world, pick)
    for pipe in daemon.pipes_for(*PRODUCE) if daemon is not None else ():
        world.hear(pipe)


def lose_connection(world: World, pick: Pick) -> None:
    """Lose a connection and every answer on it."""
    daemon = _daemon(world, pick)
    pipes = [pipe for pipe in daemon.pipes if pipe.unanswered] if daemon is not None else []
    if pipes:
        pipes[pick(len(pipes))].lose()
        world.settle()


def break_source(world: World, _pick: Pick) -> None:
    """Let the source's brokers be gone, or come back."""
    world.turn_off("source")


def break_target(world: World, _pick: Pick) -> None:
    """Let the target's brokers be gone, or come back."""
    world.turn_off("target")


def forget_sessions(world: World, _pick: Pick) -> None:
    """Let the source's brokers forget the fetch sessions, as they do when they have too many."""
    world.brokers["source"].sessions.clear()


def take_up(world: World, pick: Pick) -> None:
    """Let a daemon that handed the shard over work on it again."""
    idle = [daemon for daemon in world.daemons if not daemon.works]
    if idle:
        idle[pick(len(idle))].take_up()
        world.settle()


def notice_leader(world: World, pick: Pick) -> None:
    """Let a daemon ask who leads."""
    daemon = _daemon(world, pick)
    if daemon is not None and daemon.is_up:
        daemon.pump.leaders_stale()
        world.settle()


def work(world: World, pick: Pick) -> None:
    """Let a daemon do at once all that it can without an answer to a produce."""
    daemon = _daemon(world, pick)
    if daemon is not None and daemon.is_up:
        daemon.unpause()
        daemon.step_claim()
        world.settle()
        attend(world, daemon, *CONTROL, *FETCH)
        for _ in range(_MOMENTS):  # what an attach looks at again and again, until it is committed
            world.advance(_MOMENT_MS)
            attend(world, daemon, *CONTROL, *FETCH)


def serve(world: World, pick: Pick) -> None:
    """Let the target take, commit and answer all that one daemon sent."""
    daemon = _daemon(world, pick)
    if daemon is not None:
        attend(world, daemon, *PRODUCE, commits=True)


def record(world: World, pick: Pick) -> None:
    """Let a daemon record the source's leader epoch."""
    daemon = _daemon(world, pick)
    if daemon is not None and daemon.is_up:
        world.current.stored_epoch = max(world.current.stored_epoch, daemon.copy.reading.last_epoch)


def advance(world: World, pick: Pick) -> None:
    """Let time pass; whoever may keep the claim alive does, mostly."""
    kept_alive = pick(4)
    world.advance(STEPS_MS[pick(len(STEPS_MS))], hears_first=not pick(4))
    if kept_alive:
        renew(world)


def renew(world: World) -> None:
    """Let the holder of the claim renew it."""
    for daemon in world.daemons:
        if daemon.is_up and daemon.claim.holder == daemon.name:
            daemon.step_claim()
            daemon.persist()
            world.settle()
            attend(world, daemon, *CONTROL)


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
    "step_claim": (6, _each("step_claim")),
    "attach": (24, attach),
    "carry": (4, carry),
    "fetch": (12, fetch),
    "take": (12, take),
    "hear": (14, hear),
    "work": (24, work),
    "serve": (10, serve),
    "lose_connection": (3, lose_connection),
    "notice_leader": (2, notice_leader),
    "pause": (1, _each("pause")),
    "unpause": (3, _each("unpause")),
    "record": (1, record),
    "advance": (8, advance),
    "give_up": (0, give_up),
    "accept": (0, accept),
    "ghost": (0, ghost),
    "deny_fills": (0, deny_fills),
    "delete_records": (0, delete_records),
    "retain_target": (0, retain_target),
    "retain_copied": (0, retain_copied),
    "persist": (0, persist),
    "break_state": (0, break_state),
    "lie": (0, lie),
    "hand_over": (1, _each("hand_over")),
    "take_up": (4, take_up),
    "starve": (1, _each("starve")),
    "break_source": (1, break_source),
    "break_target": (1, break_target),
    "forget_sessions": (1, forget_sessions),
    "succeed": (1, _each("succeed")),
}
"""Every event, with its usual weight."""

MORE: dict[Offsets, dict[str, int]] = {
    Offsets.IDENTICAL: {},
    Offsets.AUTO: {"ghost": 3, "deny_fills": 1, "persist": 5, "break_state": 1},
    Offsets.MAPPED: {
        "accept": 4,
        "ghost": 1,
        "retain_target": 3,
        "retain_copied": 0,
        "delete_records": 1,
        "persist": 8,
        "break_state": 1,
    },
}
"""Weights of what can only happen, or do harm, where offsets may differ."""
RARE = ("append_too_large", "retain", "truncate", "recreate", "write_alien")
"""Events that end a copy, or most of them: only some histories have them."""
MORE_EVENTS = sorted({name for weights in MORE.values() for name in weights})
USUAL = sorted(set(EVENTS) - set(MORE_EVENTS) - set(RARE) - {"lie"})
