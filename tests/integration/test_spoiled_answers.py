"""A source whose answers are spoiled where no checksum covers them, and one whose cleaner worked once.

A man in the middle of a real broker changes base offsets, lengths and leader epochs of batches in fetch answers.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from crc32c import crc32c

from replicator.devkit import Cluster, free_base_port
from replicator.model.batch import HEADER, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_V2
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.compaction import cleaned, compacted
from tests.integration.harness import Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    config_of,
    configure,
    create,
    wait_copied,
    wait_until,
)
from tests.integration.load import Load, produce
from tests.integration.proxy import FaultProxy, spoil_nothing

FETCH = 1
PARTITIONS = 3
_BASE_AND_LENGTH = struct.Struct(">qi")


@dataclass
class Spoiler:
    """Spoils one batch in one of so many fetch answers that hold records.

    Attributes:
        done: How often it did.
    """

    one_of: int
    chance: random.Random = field(default_factory=lambda: random.Random(3))  # noqa: S311 - moments of faults
    done: int = 0

    def __call__(self, api: int, _version: int, frame: bytes) -> bytes:
        """Return the frame that arrives."""
        if api != FETCH or len(frame) < HEADER_BYTES or self.chance.randrange(self.one_of):
            return frame
        found = list(_batches(frame))
        if not found:
            return frame
        self.done += 1
        return self._spoiled(bytearray(frame), self.chance.choice(found))

    def _spoiled(self, frame: bytearray, at: int) -> bytes:
        base, length = _BASE_AND_LENGTH.unpack_from(frame, at)
        kind = self.chance.randrange(4)
        if kind == 0:
            base ^= 1 << self.chance.randrange(64)
            base = base - (1 << 64) if base >= 1 << 63 else base
        elif kind == 1:
            base += self.chance.choice((1, 2, 4_000_000))
        elif kind == 2:
            length = (1 << 31) - 1
        else:
            struct.pack_into(">i", frame, at + LENGTH_PREFIX_BYTES, 1 << 20)
        _BASE_AND_LENGTH.pack_into(frame, at, base, length)
        return bytes(frame)


def _batches(frame: bytes) -> Iterator[int]:
    """Yield where batches begin: wherever a checksum fits."""
    at = 0
    while at + HEADER_BYTES <= len(frame):
        fields = HEADER.unpack_from(frame, at)
        end = at + LENGTH_PREFIX_BYTES + fields[1]
        if fields[3] == MAGIC_V2 and fields[1] > 0 and end <= len(frame) and crc32c(frame[at + 21 : end]) == fields[4]:
            yield at
            at = end
        else:
            at += 1


@dataclass(frozen=True, slots=True)
class Spoiled:
    """The source, its address through the proxy, and the proxy."""

    cluster: Cluster
    bootstrap: str
    proxy: FaultProxy


@pytest.fixture(scope="module")
def spoiled(make_module_cluster: MakeCluster) -> Iterator[Spoiled]:
    """One broker behind a proxy."""
    base = free_base_port(1)
    port = base + 5
    cluster = make_module_cluster(name="spoiled", base_port=base, repl_advertised={1: port}, start=False)
    with FaultProxy(port, cluster.config.ports(1).repl) as proxy:
        cluster.start()
        yield Spoiled(cluster, cluster.config.repl_bootstrap, proxy)


@pytest.mark.long
def test_no_spoiled_answer_loses_moves_or_fills_anything(
    spoiled: Spoiled, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """Each ends an episode of its partition at most; the log itself is sound, and is copied at identical offsets."""
    create(spoiled.cluster, topic_name, PARTITIONS)
    daemon = lab.daemon(spoiled, west, topic_name).start()
    spoiler = Spoiler(4)
    spoiled.proxy.spoil = spoiler
    with Load(spoiled.cluster, {topic_name: PARTITIONS}, per_second=300) as load:
        wait_until("answers were spoiled", lambda: spoiler.done >= 12, 90)
    spoiled.proxy.spoil = spoil_nothing

    load.check(topic_name, assert_equal(spoiled.cluster, west, topic_name))
    assert bounds(west, topic_name) == bounds(spoiled.cluster, topic_name)
    assert daemon.mirror(topic_name)["state"] == "ACTIVE"
    assert daemon.metric("replicator_filled_offsets_total") == 0
    assert "an answer of the source was spoiled" in daemon.log_tail()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_topic_that_was_compacted_once_is_copied_though_nothing_says_so(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """Its holes are proven by a second look at the log; what is written since has none."""
    compacted(east, topic_name, PARTITIONS)
    chance = random.Random(4)  # noqa: S311 - test data
    for _ in range(4):
        items = [
            {"key": b"%d" % chance.randrange(60), "value": b"v" * 40, "partition": chance.randrange(PARTITIONS)}
            for _ in range(600)
        ]
        produce(east, topic_name, items)
    cleaned(east, topic_name)
    configure(east, topic_name, cleanup_policy="delete")
    wait_until("it is not compacted", lambda: config_of(east, topic_name)["cleanup.policy"] == "delete")
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    produce(east, topic_name, [{"value": b"later", "partition": at} for at in range(PARTITIONS)])

    assert_equal(east, west, topic_name)
    assert daemon.mirror(topic_name)["state"] == "ACTIVE"
    assert daemon.metric("replicator_filled_offsets_total") > 0
    assert daemon.metric("replicator_reattach_total") > PARTITIONS, "no hole was looked at a second time"
