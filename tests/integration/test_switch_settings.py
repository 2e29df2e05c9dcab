"""A switch at an unlucky moment: what a mirror must not have while it is copied to stands once it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from replicator.engine.state import records as state
from replicator.engine.state.topic.log import StateLog
from replicator.model.security import ClusterSpec
from replicator.model.units import parse_bootstrap
from replicator.wire.cluster import Cluster
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, config_of, configure, create, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_switchover import PARTITIONS, both_ways, order, spread

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import Change

SEEDED = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
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


@pytest.mark.long
def test_what_an_earlier_version_opened_uncompacted_is_made_good(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """Its record tells no policy that was held back, and the topic has what a seed needs; the old source tells."""
    create(east, topic_name, PARTITIONS, cleanup_policy="compact", retention_ms="3600000")
    produce(east, topic_name, keyed(60))
    daemon = both_ways(lab, east, west, topic_name).start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    order(daemon, "failover", lab.flow, "--confirm", lab.flow)
    daemon.kill()
    configure(west, topic_name, **{name.replace(".", "_"): value for name, value in SEEDED.items()})
    asyncio.run(forget_policy(east, west, lab.flow, topic_name))

    daemon.start(ready_seconds=0)
    wait_until("it is compacted", lambda: config_of(west, topic_name)["cleanup.policy"] == "compact")
    assert config_of(west, topic_name)["retention.ms"] == "3600000"
    assert config_of(east, topic_name)["cleanup.policy"] == "compact"
    assert "opened before it was compacted" in daemon.log_tail()


async def forget_policy(east: Kafka, west: Kafka, flow: str, topic: str) -> None:
    """Leave the mirror's record as an earlier version wrote it while the topic was seeded."""
    source, target = (
        Cluster(ClusterSpec(alias, parse_bootstrap(cluster.bootstrap)))
        for alias, cluster in (("east", east), ("west", west))
    )
    try:
        await asyncio.gather(source.open(), target.open())
        log = StateLog(target)
        await log.read_to_end()
        found = state.find_flow(log.records, flow, source.cluster_id, target.cluster_id)
        assert found is not None
        uid = found.uid

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            record = state.get_mirror(records, uid, topic)
            assert record is not None
            record.held_back.clear()
            record.tells_policy = False
            record.managed.update(SEEDED)
            return [state.put(state.mirror_key(uid, topic), record)]

        await log.change(uid, decide)
    finally:
        source.close()
        target.close()
