"""Who answers, and who does not."""

from __future__ import annotations

from replicator.core.status.observations import ANYWHERE, SILENT_SECONDS, ClusterSeen


def test_nothing_is_known_of_a_cluster_that_nobody_asked() -> None:
    """Neither up nor down."""
    seen = ClusterSeen()
    assert (seen.up(99.0), seen.silent(99.0), seen.status("west", 99.0).trouble) == (None, {}, None)


def test_a_cluster_that_was_never_reached_is_down_at_once_with_the_reason() -> None:
    """There is no earlier answer that a grace could count from."""
    seen = ClusterSeen()
    seen.broker(-1).failed(5.0, "Connection refused; next: check it")
    status = seen.status("west", 5.1)
    assert (status.up, status.answered_age_seconds) == (False, None)
    assert status.trouble == "west does not answer: Connection refused; next: check it"


def test_silence_counts_from_the_last_answer() -> None:
    """A short one is no news; a reason from before the last answer explains nothing."""
    seen = ClusterSeen()
    seen.broker(1).failed(1.0, "an old story")
    seen.broker(1).answered_at = 10.0
    seen.watch({1}, 0.0)
    assert seen.up(10.0 + SILENT_SECONDS - 0.1) is True
    assert seen.silent(10.0 + SILENT_SECONDS - 0.1) == {}
    status = seen.status("west", 22.0)
    assert (status.up, status.answered_age_seconds) == (False, 12.0)
    assert status.trouble == "west does not answer, last heard 12.0s ago"
    seen.broker(1).failed(21.0, "no answer within 5 s")
    assert seen.status("west", 22.0).trouble == "west does not answer, last heard 12.0s ago: no answer within 5 s"


def test_one_silent_broker_is_named_while_the_others_answer() -> None:
    """The cluster is up; what that broker leads is not copied."""
    seen = ClusterSeen()
    seen.watch({1, 2}, 0.0)
    seen.broker(1).answered_at = 29.0
    seen.broker(2).answered_at = 10.0
    assert seen.up(30.0) is True
    assert seen.silent(30.0) == {2: ", last heard 20.0s ago"}
    assert seen.status("west", 30.0).trouble == "west broker 2 does not answer, last heard 20.0s ago"


def test_a_broker_that_comes_into_use_gets_its_time_to_answer() -> None:
    """Nobody had a reason to ask it before."""
    seen = ClusterSeen()
    seen.broker(1).answered_at = 100.0
    seen.broker(2).answered_at = 0.0
    seen.watch({1}, 0.0)
    seen.watch({1, 2}, 100.0)
    assert seen.silent(100.0 + SILENT_SECONDS - 0.1) == {}
    assert set(seen.silent(100.0 + SILENT_SECONDS)) == {1, 2}
    seen.watch({1}, 111.0)
    assert set(seen.silent(111.0)) == {1}


def test_the_brokers_in_use_are_told_one_by_one() -> None:
    """One that did not answer yet, and still has time to, is neither; whoever is not in use is nobody's business."""
    seen = ClusterSeen()
    seen.watch({1, 2, 3}, 20.0)
    seen.broker(1).answered_at = 29.0
    seen.broker(2).answered_at = 10.0
    seen.broker(4).answered_at = 1.0
    told = {one.broker: one.up for one in seen.status("west", 29.5).brokers}
    assert told == {1: True, 2: True, 3: None}
    told = {one.broker: one.up for one in seen.status("west", 30.0).brokers}
    assert told == {1: True, 2: False, 3: False}


def test_a_partition_that_nobody_leads_for_a_while_is_named() -> None:
    """A new leader takes a moment; no broker need be silent."""
    seen = ClusterSeen()
    seen.broker(1).answered_at = 29.0
    seen.watch({1}, 10.0, ["orders-1", "orders-0"])
    seen.watch({1}, 19.0, ["orders-1", "orders-0", "orders-2"])
    assert seen.status("west", 19.9).trouble is None
    assert seen.status("west", 20.0).trouble == "west has no leader for orders-0 and 1 more partitions"
    seen.watch({1}, 21.0)
    assert seen.status("west", 22.0).trouble is None


def test_brokers_that_are_gone_are_forgotten() -> None:
    """A cluster may list other ones each time. Those in use stay, and so does what a bootstrap address has answered."""
    seen = ClusterSeen()
    seen.watch([7], 0.0)
    for node in (ANYWHERE, 7, *range(100, 200)):
        seen.broker(node).answered_at = float(node)
    seen.forget_others([150])
    assert seen._brokers.keys() == {ANYWHERE, 7, 150}
    assert (seen.broker(7).answered_at, seen.broker(ANYWHERE).answered_at) == (7.0, -1.0)
