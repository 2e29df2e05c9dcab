"""Leases, step by step, with clocks set by hand: who works on what, after everything that can go wrong."""

from __future__ import annotations

import math

import pytest

from replicator.model.lease import Lease, LeaseAnswer, LeaseCaller, LeaseTable, Member
from tests.lease_wire import Wire
from tests.lease_world import DOUBT, MARGIN, TTL, UID, World, run


def test_one_daemon_takes_everything() -> None:
    """And keeps it."""
    world = World(shards=4)
    only = world.daemon("a", world.coordinator())
    only.tick()
    assert only.works == {0, 1, 2, 3}
    world.pass_time(100)
    assert only.works == {0, 1, 2, 3}
    assert len(only.began) == 4


def test_two_daemons_share() -> None:
    """Evenly, by hand-over, once the second one has settled; and nothing moves after that."""
    world = World(shards=4)
    coordinator = world.coordinator()
    one = world.daemon("a", coordinator)
    world.pass_time(5)
    two = world.daemon("b", coordinator)
    world.pass_time(2)
    assert one.works == {0, 1, 2, 3}, "one that may crash at once moves nothing"
    world.pass_time(10)
    assert (len(one.works), len(two.works)) == (2, 2)
    assert one.works | two.works == {0, 1, 2, 3}
    moved = len(one.began) + len(two.began)
    world.pass_time(200)
    assert len(one.began) + len(two.began) == moved


def test_three_daemons_and_an_odd_number() -> None:
    """A difference of one stays as it is."""
    world = World(shards=7)
    coordinator = world.coordinator()
    for name in "abc":
        world.daemon(name, coordinator)
        world.pass_time(30)
    assert sorted(len(daemon.works) for daemon in world.daemons) == [2, 2, 3]


def test_a_killed_daemon_is_followed_within_a_ttl() -> None:
    """Its sign and its lease end at about the same time."""
    world = World()
    coordinator = world.coordinator()
    one, two = world.daemon("a", coordinator), world.daemon("b", coordinator)
    world.pass_time(20)
    assert one.works == {0}
    world.kill(one)
    world.pass_time(TTL - 2)
    assert two.works == set()
    world.pass_time(4)
    assert two.works == {0}


def test_a_daemon_on_its_way_out_is_followed_at_once() -> None:
    """It works until the other one has begun."""
    world = World(shards=2)
    coordinator = world.coordinator()
    one, two = world.daemon("a", coordinator), world.daemon("b", coordinator)
    world.pass_time(20)
    shard = next(iter(one.works))
    assert run(one.leases.hand_off())
    one.look()
    assert one.works == {shard}
    two.tick()
    assert two.works == {0, 1}
    one.tick()
    assert one.works == set()
    run(one.leases.leave())
    world.kill(one)
    world.pass_time(30)
    assert two.works == {0, 1}


def test_the_last_daemon_has_nobody_to_hand_off_to() -> None:
    """It is told so, and does not wait."""
    world = World(shards=2)
    only = world.daemon("a", world.coordinator())
    world.pass_time(5)
    assert not run(only.leases.hand_off())


def test_a_lost_coordinator_does_not_stop_the_copy() -> None:
    """Not for as long as it lasts, and nobody else begins although others reach the coordinator."""
    world = World()
    coordinator = world.coordinator()
    one, two = world.daemon("a", coordinator), world.daemon("b", coordinator)
    world.pass_time(20)
    one.wire.loses_requests = True
    world.pass_time(5 * TTL)
    assert (one.works, two.works) == ({0}, set())
    assert one.leases.problem is not None
    assert "copying goes on" in " ".join(one.shards.problems()) or one.shards.shards[0].works
    one.wire.loses_requests = False
    world.pass_time(30)
    assert len(world.working(0)) == 1


def test_on_loss_stop() -> None:
    """The holder stops a margin before anybody else can begin, and the other one begins."""
    world = World()
    coordinator = world.coordinator()
    one = world.daemon("a", coordinator, stops_on_loss=True)
    two = world.daemon("b", coordinator, stops_on_loss=True)
    world.pass_time(20)
    one.wire.loses_requests = True
    silent_since = world.time
    while one.works:
        assert two.works == set()
        world.pass_time(1)
    assert world.time - silent_since <= TTL - MARGIN
    world.pass_time(TTL)
    assert (one.works, two.works) == (set(), {0})


def test_lost_answers() -> None:
    """A lease that was granted without an answer is found at the next call, and nobody else has it meanwhile."""
    world = World()
    coordinator = world.coordinator()
    one, two = world.daemon("a", coordinator), world.daemon("b", coordinator)
    one.wire.loses_answers = True
    one.tick()
    two.tick()
    assert len(world.working(0)) <= 1
    one.wire.loses_answers = False
    world.pass_time(3 * TTL)
    assert len(world.working(0)) == 1


def test_a_frozen_daemon_comes_back() -> None:
    """Another one works by then, under a newer lease; the old one stops as soon as it can see anything."""
    world = World()
    coordinator = world.coordinator()
    one, two = world.daemon("a", coordinator), world.daemon("b", coordinator)
    world.pass_time(20)
    one.frozen = True
    world.pass_time(2 * TTL)
    assert two.works == {0}
    one.frozen = False
    one.tick()
    assert one.works == set()
    world.pass_time(60)
    assert (one.works, two.works) == (set(), {0})


def test_cut_off_from_the_target_too() -> None:
    """It cannot say that it lives, so another one follows; once it sees that, it stops."""
    world = World()
    coordinator = world.coordinator()
    one, two = world.daemon("a", coordinator), world.daemon("b", coordinator)
    world.pass_time(20)
    one.view.cut_off = True
    one.wire.loses_requests = True
    world.pass_time(3 * TTL)
    assert two.works == {0}
    one.view.cut_off = False
    one.tick()
    assert one.works == set()


def test_two_coordinators_that_know_nothing_of_each_other() -> None:
    """The second daemon sees the first one at work, whatever its own coordinator says; and follows it in the end."""
    world = World()
    one = world.daemon("a", world.coordinator())
    world.pass_time(5)
    other = World(topic=world.topic)
    two = world.daemon("b", other.coordinator())
    world.pass_time(60)
    assert (one.works, two.works) == ({0}, set())
    assert two.shards.problems() == []
    world.kill(one)
    world.pass_time(TTL + 2)
    assert two.works == {0}


def test_a_store_that_was_restored() -> None:
    """Epochs do not go back: what stands on the state topic is above them (`World.note` checks each begin)."""
    world = World()
    coordinator = world.coordinator()
    world.daemon("a", coordinator)
    world.pass_time(5)
    old = world.backup()
    for name in "bcd":
        world.kill(world.daemons[0])
        world.daemon(name, coordinator)
        world.pass_time(2 * TTL)
        assert world.working(0) == [name]
    world.restore(old)
    world.pass_time(60)
    assert world.working(0) == ["d"], "the holder of the newest lease keeps it"
    world.kill(world.daemons[0])
    world.daemon("e", world.coordinator())
    world.pass_time(3 * TTL)
    assert world.working(0) == ["e"]


def test_a_lease_from_an_old_copy() -> None:
    """It is granted anew, above what others worked under meanwhile."""
    world = World()
    coordinator = world.coordinator()
    one = world.daemon("a", coordinator)
    world.pass_time(5)
    old = world.backup()
    two = world.daemon("b", coordinator)
    one.frozen = True
    world.pass_time(3 * TTL)
    assert two.works == {0}
    one.frozen = False
    world.pass_time(5)
    world.kill(two)
    world.restore(old)
    world.pass_time(3 * TTL)
    assert one.works == {0}
    assert one.leases.epoch(0) > two.leases.epoch(0)


def test_a_coordinator_that_insists_on_an_old_lease() -> None:
    """What stands on the state topic is the judge: nothing begins under a lease that is not above it."""
    world = World()
    other = world.daemon("x", world.coordinator())
    world.pass_time(5)
    run(other.presence.announce(0, 7))
    world.kill(other)
    one = world.daemon("a", world.coordinator())
    one.wire = Insisting(one.wire.coordinator)
    one.leases._port = one.wire
    world.pass_time(3 * TTL)
    assert one.works == set()


class Insisting(Wire):
    """A coordinator that grants the same old lease again and again."""

    async def renew(self, caller: LeaseCaller) -> LeaseAnswer:
        """Grant it."""
        table = LeaseTable(UID, "flow", (Member(caller.instance, "", 1),), (Lease(0, 7, caller.instance),))
        return LeaseAnswer(table, TTL)


def test_a_store_that_was_lost_moves_nothing() -> None:
    """Whoever is at work keeps what he works on, whoever calls first."""
    world = World(shards=4)
    coordinator = world.coordinator()
    for name in "ab":
        world.daemon(name, coordinator)
    world.pass_time(60)
    before = [(list(daemon.began), [daemon.leases.epoch(shard) for shard in range(4)]) for daemon in world.daemons]
    world.restore({})
    world.pass_time(60)
    after = [(daemon.began, [daemon.leases.epoch(shard) for shard in range(4)]) for daemon in world.daemons]
    assert after == before
    assert sorted(len(daemon.works) for daemon in world.daemons) == [2, 2]


def test_one_lease_granted_twice_by_a_restored_store() -> None:
    """Two of one epoch: the claim on the state topic decides, and only one goes on."""
    world = World()
    coordinator = world.coordinator()
    one = world.daemon("a", coordinator)
    old = world.backup()
    one.renew()  # granted, not yet begun
    world.restore(old)
    two = world.daemon("b", coordinator)
    two.renew()
    assert one.leases.epoch(0) == two.leases.epoch(0) == 1
    one.tick()
    world.pass_time(3 * TTL)
    assert len(world.working(0)) == 1


def test_several_coordinators_over_one_store() -> None:
    """Any of them may be asked; one that has just started takes nobody for dead."""
    world = World(shards=2)
    first = world.coordinator()
    one = world.daemon("a", first)
    two = world.daemon("b", world.coordinator(start=1e6))
    world.pass_time(30)
    assert (len(one.works), len(two.works)) == (1, 1)
    fresh = world.coordinator(start=-50.0)
    for daemon in world.daemons:
        daemon.wire.coordinator = fresh
    world.pass_time(60)
    assert (len(one.began), len(two.began)) in {(1, 1), (2, 1), (1, 2)}


def test_the_claim_follows_the_lease() -> None:
    """Given back at a hand-over: there is no doubt to wait out, and its number is at least the lease's epoch."""
    world = World()
    coordinator = world.coordinator()
    one, two = world.daemon("a", coordinator), world.daemon("b", coordinator)
    world.pass_time(20)
    assert one.shards.shards[0].claim.effective_since() is not None
    run(one.leases.hand_off())
    world.pass_time(3)
    claim = two.shards.shards[0].claim
    assert two.works == {0}
    assert claim.effective_since() is not None
    assert claim.number >= two.leases.epoch(0)
    world.kill(two)
    three = world.daemon("c", coordinator)
    world.pass_time(2 * TTL + 2)
    claim = three.shards.shards[0].claim
    assert claim.number >= three.leases.epoch(0)
    assert claim.effective_since() is None, "what the killed one sent may still arrive"
    world.pass_time(DOUBT)
    assert claim.effective_since() is not None


def test_no_coordinator_at_all() -> None:
    """Whoever stops on loss never begins; else somebody does after a TTL, and only one stays. Then all is shared."""
    world = World(shards=2)
    coordinator = world.coordinator()
    strict = world.daemon("s", coordinator, stops_on_loss=True)
    strict.wire.loses_requests = True
    world.pass_time(3 * TTL)
    assert strict.works == set()
    assert strict.leases.problem == "no answer"
    world.kill(strict)
    for name in "ab":
        world.daemon(name, coordinator).wire.loses_requests = True
    world.pass_time(TTL - 2)
    assert world.working(0) == []
    world.pass_time(2 * TTL)
    assert all(len(world.working(shard)) == 1 for shard in range(2))
    moved = sum(len(daemon.began) for daemon in world.daemons)
    world.pass_time(60)
    assert sum(len(daemon.began) for daemon in world.daemons) == moved
    for daemon in world.daemons:
        daemon.wire.loses_requests = False
    world.pass_time(60)
    assert sorted(len(daemon.works) for daemon in world.daemons) == [1, 1]


@pytest.mark.parametrize("ttl_seconds", [math.nan, math.inf, 1e300])
def test_no_coordinator_grants_a_lease_for_ever(ttl_seconds: float) -> None:
    """What the daemon's own file says is a bound."""
    world = World()
    only = world.daemon("a", world.coordinator())
    only.tick()
    assert only.leases.table is not None
    only.leases._take(LeaseAnswer(only.leases.table, ttl_seconds, ()), 1_000.0)
    assert only.leases._valid_until == 1_000.0 + TTL - MARGIN
