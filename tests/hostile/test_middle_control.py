"""Answers about a cluster that were changed on their way: what follows from them is nothing wrong, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.types import BrokerId
from kio.static.primitive import i16, i32, i64

from tests.hostile.middle import (
    DESCRIBE_CONFIGS,
    DESCRIBE_PRODUCERS,
    EPOCH_ENDS,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    LIST_OFFSETS,
    METADATA,
    Change,
    Lying,
    Middle,
    Watched,
    changed,
    of_partitions,
    rounds,
)
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.long]

HUGE = 2**63 - 1
Changed = Callable[[int, bytes], bytes]


def told_as(**numbers: Any) -> Change:
    """Return the lie that sets fields."""
    return lambda told: replace(told, **numbers)


def more(name: str, by: int, kind: Callable[[int], int] = i64) -> Change:
    """Return the lie that a number is so much more."""
    return lambda told: replace(told, **{name: kind(int(getattr(told, name)) + by)})


def producers(change: Change) -> Change:
    """Return the lie about each producer that a partition remembers."""
    return lambda told: replace(told, active_producers=tuple(map(change, told.active_producers)))


PARTITIONS: dict[str, tuple[int, Change]] = {
    "a leader that is not there": (METADATA, told_as(leader_id=BrokerId(77))),
    "no leader": (METADATA, told_as(leader_id=BrokerId(-1))),
    "a leader epoch that is to come": (METADATA, more("leader_epoch", 9, i32)),
    "a negative leader epoch": (METADATA, told_as(leader_epoch=i32(-3))),
    "a partition that fails": (METADATA, told_as(error_code=ErrorCode.leader_not_available)),
    "offsets that are too high": (LIST_OFFSETS, more("offset", 50)),
    "offsets that are too low": (LIST_OFFSETS, told_as(offset=i64(0))),
    "the highest offsets there are": (LIST_OFFSETS, told_as(offset=i64(HUGE))),
    "negative offsets": (LIST_OFFSETS, told_as(offset=i64(-5))),
    "offsets that are not told": (LIST_OFFSETS, told_as(error_code=ErrorCode.unknown_topic_or_partition)),
    "an epoch that ends at the beginning": (EPOCH_ENDS, told_as(end_offset=i64(0))),
    "an epoch that never ends": (EPOCH_ENDS, told_as(end_offset=i64(HUGE))),
    "an epoch that is to come": (EPOCH_ENDS, more("leader_epoch", 9, i32)),
    "epochs that are not told": (EPOCH_ENDS, told_as(error_code=ErrorCode.unknown_leader_epoch)),
    "a sequence that is too high": (DESCRIBE_PRODUCERS, producers(more("last_sequence", 3, i32))),
    "a sequence that is too low": (DESCRIBE_PRODUCERS, producers(more("last_sequence", -1, i32))),
    "an epoch of another writer": (DESCRIBE_PRODUCERS, producers(more("producer_epoch", 1, i32))),
    "an epoch that is gone by": (DESCRIBE_PRODUCERS, producers(more("producer_epoch", -1, i32))),
    "no producer": (DESCRIBE_PRODUCERS, told_as(active_producers=())),
    "strange producers": (DESCRIBE_PRODUCERS, producers(more("producer_id", 1 << 40))),
    "the same producer twice": (
        DESCRIBE_PRODUCERS,
        lambda told: replace(told, active_producers=told.active_producers * 2),
    ),
}


def _of_kind(kind: int, change: Change) -> Changed:
    return lambda version, frame: changed(kind, version, frame, change)


UNKNOWN, REFUSED = ErrorCode.unknown_topic_or_partition, ErrorCode.unsupported_version
SELDOM = frozenset({DESCRIBE_CONFIGS, FIND_COORDINATOR, INIT_PRODUCER_ID})
"""What only one side of a flow is asked for, and that not at each start."""
ENDED = frozenset({"source_recreated", "source_missing", "target_recreated", "target_missing"})
"""Reasons that outlive what was told: somebody has to look."""


def brokers_at(port: int) -> Change:
    """Return the lie about where brokers are."""
    return lambda told: replace(told, brokers=tuple(replace(one, port=i32(port)) for one in told.brokers))


def topics_with(change: Change) -> Change:
    """Return the lie about each topic of metadata but the flow's own records."""
    own = "replicator.state"
    return lambda told: replace(told, topics=tuple(one if one.name == own else change(one) for one in told.topics))


def upside_down(told: Any) -> Any:
    """Turn each range of versions round."""
    keys = (replace(one, min_version=i16(9), max_version=i16(0)) for one in told.api_keys)
    return replace(told, api_keys=tuple(keys))


def configs_as(value: str) -> Change:
    """Return the lie about each setting."""

    def resource(told: Any) -> Any:
        return replace(told, configs=tuple(replace(one, value=value) for one in told.configs))

    return lambda told: replace(told, results=tuple(map(resource, told.results)))


def coordinator_at(port: int) -> Change:
    """Return the lie about where coordinators are."""

    def change(told: Any) -> Any:
        if hasattr(told, "coordinators"):
            return replace(told, coordinators=tuple(replace(one, port=i32(port)) for one in told.coordinators))
        return replace(told, port=i32(port))

    return change


def partition_lies(topic: str) -> Lying:
    """Return the lies about one partition each."""
    by_kind: dict[int, dict[int, Change]] = {}
    for number, (kind, change) in enumerate(PARTITIONS.values()):
        by_kind.setdefault(kind, {})[number] = change
    return Lying({kind: _of_kind(kind, of_partitions(topic, changes)) for kind, changes in by_kind.items()})


@pytest.mark.parametrize("side", ["source", "target"])
def test_lies_about_partitions_hold_up_no_other(
    middle: Middle, east: Kafka, west: Kafka, topic_name: str, lab: Lab, side: str
) -> None:
    """Told to a daemon that has copied before, is started anew and has to find out where it stands."""
    ways: tuple[tuple[Kafka, Kafka], tuple[Kafka, Kafka]] = ((middle, west), (east, west))
    if side == "target":
        ways = ((east, middle), (east, west))
    names = list(PARTITIONS)
    honest, count = len(names), len(names) + 1
    source: Kafka = middle.cluster if side == "source" else east
    create(source, topic_name, count)
    watched = Watched(lab, *ways, topic_name, replication_factor=1)
    watched.start()
    rounds(source, topic_name, count, 0)
    assert_equal(source, west if side == "source" else middle.cluster, topic_name)
    liar = partition_lies(topic_name)
    middle.proxy.spoil = liar
    watched.begin(liar)
    watched.again()
    for number in range(1, 5):
        rounds(source, topic_name, count, number)
        wait_until("the honest one goes on", lambda: watched.is_copied(honest))
    watched.goes_on_beside()
    kinds = {kind for kind, _ in PARTITIONS.values()} - {EPOCH_ENDS, DESCRIBE_PRODUCERS}
    wait_until("each lie was told", lambda: all(liar.told[kind] for kind in kinds))
    watched.is_bounded(liar)
    watched.judged()
    for at, name in enumerate(names):
        assert watched.is_copied(at) or watched.partition(at)["detail"], name

    middle.honest()
    middle.proxy.close_connections()

    def unfinished() -> list[str]:
        there = watched.daemon.mirror(topic_name)["partitions"]
        return [name for at, name in enumerate(names) if not watched.is_copied(at) and there[at]["state"] != "FAULTED"]

    wait_until("what was not stopped goes on", lambda: not unfinished(), 90)
    missing = watched.judged()
    stopped = {
        at for at, told in enumerate(watched.daemon.mirror(topic_name)["partitions"]) if told["state"] == "FAULTED"
    }
    assert {at for at, number in missing.items() if number} <= stopped
