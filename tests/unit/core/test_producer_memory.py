"""For how long a cluster may be relied on to remember a producer."""

from __future__ import annotations

import pytest

from replicator.core.copy.writing.producer_memory import (
    EXPIRATION,
    EXPIRATION_BEFORE_3_4,
    EXPIRATION_DEFAULT_MS,
    SETTINGS,
    ProducerMemory,
    producer_memory,
)

_APACHE = SETTINGS[2]


def test_the_shortest_of_all_brokers_counts() -> None:
    """Each has a setting of its own, and any of them may lead."""
    found = producer_memory({1: {EXPIRATION: "86400000"}, 2: {EXPIRATION: "3600000"}, 3: {EXPIRATION: "86400000"}})
    assert (found.shortest_ms, found.differs, found.is_complete, found.setting) == (3_600_000, True, True, EXPIRATION)


def test_whoever_does_not_tell_counts_with_the_default() -> None:
    """A longer time of the others proves nothing about it, a shorter one does for all."""
    longer = producer_memory({1: {EXPIRATION: "900000000"}, 2: None})
    assert (longer.shortest_ms, longer.is_complete, longer.silent) == (EXPIRATION_DEFAULT_MS, False, (2,))
    assert producer_memory({1: {EXPIRATION: "1000"}, 2: {EXPIRATION: None}}).shortest_ms == 1000
    assert ProducerMemory({}).shortest_ms == EXPIRATION_DEFAULT_MS


@pytest.mark.parametrize("told", ["banana", "", "-7", "0", "9" * 40, "9" * 32_000, "1e3", "\u0663"])
def test_what_is_no_time_is_not_told(told: str) -> None:
    """A broker, or what stands before it, may answer anything."""
    found = producer_memory({1: {EXPIRATION: "1000"}, 2: {EXPIRATION: told}})
    assert (found.by_broker, found.silent) == ({1: 1000}, (2,))


def test_before_kafka_3_4_transactional_ids_and_producers_share_a_setting() -> None:
    """It counts where the newer one does not exist, and only on brokers that are known to be Apache's."""
    old = {EXPIRATION_BEFORE_3_4: "7200000", _APACHE: "3600000"}
    found = producer_memory({1: old})
    assert (found.shortest_ms, found.setting, found.is_dynamic) == (7_200_000, EXPIRATION_BEFORE_3_4, False)
    assert producer_memory({1: {EXPIRATION: "86400000", **old}}).setting == EXPIRATION
    assert producer_memory({1: {EXPIRATION_BEFORE_3_4: "900000000"}}).shortest_ms == EXPIRATION_DEFAULT_MS


def test_a_broker_that_is_away_counts_with_what_it_told() -> None:
    """It may come back and lead before anybody asks it again."""
    before = producer_memory({1: {EXPIRATION: "5000000"}, 2: {EXPIRATION: "3600000"}})
    now = producer_memory({1: {EXPIRATION: "6000000"}}).and_before(before)
    assert (now.shortest_ms, now.is_complete) == (3_600_000, True)
    silent = producer_memory({1: {EXPIRATION: "900000000"}, 2: None}).and_before(before)
    assert (silent.shortest_ms, silent.silent) == (3_600_000, ())
