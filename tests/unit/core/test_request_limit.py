"""Which batch a target's broker closes its connection over."""

from __future__ import annotations

from replicator.core.copy.writing.request_limit import ENVELOPE_BYTES, LOSSES_MAX, PARTITION_BYTES, RequestLimit


def lost(limit: RequestLimit, *sent: tuple[str, int, int], at: float = 0.0, seconds: float = 0.1) -> bool:
    """Lose the connection some time after this was sent."""
    return limit.lost(sent, at, at + seconds)


def test_nothing_is_refused_that_is_not_known_to_be_too_large() -> None:
    """Its setting is not asked for before a connection was lost."""
    limit = RequestLimit()
    assert limit.takes(1 << 30)
    assert not limit.wants_asking
    assert not limit.is_careful(0.0)


def test_what_the_broker_tells_counts() -> None:
    """A request with its envelope, and what it carries already."""
    limit = RequestLimit()
    assert not lost(limit, ("a", 5, 300_000), ("b", 7, 10_000))
    assert limit.wants_asking
    limit.reported(2000)
    assert (limit.wants_asking, limit.is_careful(0.2)) == (False, False)
    most = 2000 - ENVELOPE_BYTES - PARTITION_BYTES
    assert limit.takes(most)
    assert not limit.takes(most + 1)
    assert not limit.takes(most - 600, 600, 1)
    assert limit.takes(most - 600 - PARTITION_BYTES, 600, 1)
    limit.reported(None)  # asked again, and refused meanwhile: what it said before still holds
    assert not limit.takes(most + 1)


def test_who_loses_the_connection_twice_alone_and_at_once_is_too_large() -> None:
    """The first loss only says who was on its way."""
    limit = RequestLimit()
    assert not lost(limit, ("a", 5, 300_000), ("b", 7, 10_000))
    limit.reported(None)
    assert limit.is_careful(1.0)
    limit.passed("b", 10_000)
    assert not lost(limit, ("a", 5, 300_000), at=1.0)
    assert lost(limit, ("a", 5, 300_000), at=2.0)


def test_a_broker_that_fails_for_other_reasons_is_not_blamed_on_a_batch() -> None:
    """Late; larger ones pass; another place; it refuses connections, as it is away."""
    late, larger, elsewhere, away = (RequestLimit() for _ in range(4))
    for limit in (late, larger, elsewhere, away):
        lost(limit, ("a", 5, 300_000), ("b", 7, 400_000))
        limit.reported(None)
    assert not any(lost(late, ("a", 5, 300_000), at=at, seconds=9.0) for at in (1.0, 11.0, 21.0))
    larger.passed("b", 400_000)
    assert not any(lost(larger, ("a", 5, 300_000), at=at) for at in (1.0, 2.0, 3.0))
    assert not any(lost(elsewhere, ("a", offset, 300_000), at=1.0) for offset in (5, 6, 7))
    assert not lost(away, ("a", 5, 300_000), at=1.0)
    away.unreachable()
    assert not away.is_careful(1.5)
    assert not lost(away, ("a", 5, 300_000), at=2.0)
    assert not lost(away, ("a", 5, 300_000), at=3.0)


def test_a_small_batch_has_to_lose_the_connection_far_more_often() -> None:
    """Two losses in a row are bad luck; a broker that takes hardly anything must be named all the same."""
    limit = RequestLimit()
    lost(limit, ("a", 5, 76))
    limit.reported(None)
    assert [lost(limit, ("a", 5, 76), at=at) for at in range(LOSSES_MAX)][-2:] == [False, True]


def test_losses_over_batches_that_are_no_larger_count_as_well() -> None:
    """Else a thousand partitions of such a broker would be named over hours. What goes through takes that back."""
    limit = RequestLimit()
    lost(limit, ("a", 5, 76), ("b", 5, 76), ("c", 5, 75), ("d", 5, 80))
    limit.reported(None)
    assert any(lost(limit, ("a", 5, 76), at=at) for at in range(LOSSES_MAX))
    assert [lost(limit, ("b", 5, 76), at=at) for at in (20, 21)] == [False, True]
    assert [lost(limit, ("c", 5, 75), at=at) for at in (22, 23)] == [False, False]
    limit.passed("c", 75)
    assert lost(limit, ("d", 5, 80), at=24) is False
    assert lost(limit, ("d", 5, 80), at=25) is True
    limit.passed("d", 80)
    assert not any(lost(limit, ("b", 5, 76), at=at) for at in range(26, 26 + 2 * LOSSES_MAX))


def test_it_is_not_careful_for_ever() -> None:
    """Who was on its way may have gone to another broker."""
    limit = RequestLimit()
    lost(limit, ("a", 5, 300_000), ("b", 7, 10_000))
    limit.reported(None)
    assert limit.is_careful(59.0)
    assert not limit.is_careful(61.0)


def test_what_is_sent_again_only_after_the_doubt_time_is_still_sent_alone() -> None:
    """An old backlog, which nothing guards, waits that long after each loss."""
    limit = RequestLimit(doubt_seconds=60.0)
    lost(limit, ("a", 5, 300_000), ("b", 7, 10_000))
    limit.reported(None)
    assert limit.is_careful(70.0)
    assert not lost(limit, ("a", 5, 300_000), at=70.0)
    assert limit.is_careful(140.0)
    assert lost(limit, ("a", 5, 300_000), at=140.0)
    assert not limit.is_careful(261.0)
