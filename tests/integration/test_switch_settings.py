"""A switch at an unlucky moment: what a mirror must not have while it is copied to stands once it is opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.integration.harness import Kafka, Lab, config_of, configure, create, produce, wait_copied
from tests.integration.test_switchover import PARTITIONS, both_ways, order, spread

KEPT = {"cleanup.policy": "compact", "retention.ms": "3600000", "compression.type": "lz4"}


def keyed(count: int) -> Iterable[dict[str, Any]]:
    """Return records as a compacted topic takes them."""
    return ({**fields, "key": fields["value"]} for fields in spread(count))


@pytest.mark.long
def test_a_compacted_topic_is_opened_compacted(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """In the second in which it was copied for the first time: by a failover of one topic alone, and with the rest."""
    alone, rest = f"{topic_name}-alone", f"{topic_name}-rest"
    for topic in (alone, rest):
        create(east, topic, PARTITIONS, cleanup_policy="compact", retention_ms="3600000", compression_type="lz4")
        produce(east, topic, keyed(60))
    daemon = both_ways(lab, east, west, f"{topic_name}-*").start(ready_seconds=0)
    for topic in (alone, rest):
        wait_copied(east, west, topic)
    order(daemon, "failover", lab.flow, "--topics", alone, "--confirm", lab.flow)
    order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    for topic in (alone, rest):
        found = config_of(west, topic)
        assert {name: found[name] for name in KEPT} == KEPT


@pytest.mark.long
def test_settings_of_the_last_seconds_move_too(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """What was changed on the source since the last look at settings stands on the target when that is opened."""
    create(east, topic_name, PARTITIONS, compression_type="lz4")
    produce(east, topic_name, spread(60))
    daemon = both_ways(lab, east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    configure(east, topic_name, compression_type="zstd", retention_ms="7200000", segment_ms="3600000")
    order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    found = config_of(west, topic_name)
    assert (found["compression.type"], found["retention.ms"], found["segment.ms"]) == ("zstd", "7200000", "3600000")
    order(daemon, "switchover", f"{lab.flow}-back", "--producers-stopped", "--reverse", "--yes")
    found = config_of(east, topic_name)
    assert (found["compression.type"], found["retention.ms"], found["segment.ms"]) == ("zstd", "7200000", "3600000")
