"""Which batch a target's broker closes its connection over."""

from __future__ import annotations

from replicator.core.copy.request_limit import ENVELOPE_BYTES, PARTITION_BYTES, RequestLimit


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
    limit.told(2000)
    assert (limit.wants_asking, limit.is_careful(0.2)) == (False, False)
    most = 2000 - ENVELOPE_BYTES - PARTITION_BYTES
    assert limit.takes(most)
    assert not limit.takes(most + 1)
    assert not limit.takes(most - 600, 600, 1)
    assert limit.takes(most - 600 - PARTITION_BYTES, 600, 1)
    limit.told(None)  # asked again, and refused meanwhile: what it said before still holds
    assert not limit.takes(most + 1)


def test_who_loses_the_connection_twice_alone_and_at_once_is_too_large() -> None:
    """The first loss only says who was on its way."""
    limit = RequestLimit()
    assert not lost(limit, ("a", 5, 300_000), ("b", 7, 10_000))
    limit.told(None)
    assert limit.is_careful(1.0)
    limit.passed("b", 10_000)
    assert not lost(limit, ("a", 5, 300_000), at=1.0)
    assert lost(limit, ("a", 5, 300_000), at=2.0)


def test_a_broker_that_fails_for_other_reasons_is_not_blamed_on_a_batch() -> None:
    """Late; larger ones pass; another place; it refuses connections, as it is away."""
    late, larger, elsewhere, away = (RequestLimit() for _ in range(4))
    for limit in (late, larger, elsewhere, away):
        lost(limit, ("a", 5, 300_000), ("b", 7, 400_000))
        limit.told(None)
    assert not any(lost(late, ("a", 5, 300_000), at=at, seconds=9.0) for at in (1.0, 11.0, 21.0))
    larger.passed("b", 400_000)
    assert not any(lost(larger, ("a", 5, 300_000), at=at) for at in (1.0, 2.0, 3.0))
    assert not any(lost(elsewhere, ("a", offset, 300_000), at=1.0) for offset in (5, 6, 7))
    assert not lost(away, ("a", 5, 300_000), at=1.0)
    away.unreachable()
    assert not away.is_careful(1.5)
    assert not lost(away, ("a", 5, 300_000), at=2.0)
    assert not lost(away, ("a", 5, 300_000), at=3.0)


def test_a_small_batch_is_never_too_large() -> None:
    """A connection may be lost again and again, at once, with the same one on its way."""
    limit = RequestLimit()
    lost(limit, ("a", 5, 76))
    limit.told(None)
    assert not any(lost(limit, ("a", 5, 76), at=at) for at in (1.0, 2.0, 3.0, 4.0))


def test_it_is_not_careful_for_ever() -> None:
    """Who was on its way may have gone to another broker."""
    limit = RequestLimit()
    lost(limit, ("a", 5, 300_000), ("b", 7, 10_000))
    limit.told(None)
    assert limit.is_careful(59.0)
    assert not limit.is_careful(61.0)
