"""Mapped offsets on real brokers: the same records in the same order, and a map that tells where each stands."""

from __future__ import annotations

import random
import subprocess

import pytest

from replicator.model.spec import Isolation
from tests.integration.corpus.transactional import transactions
from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import Kafka, Record, create, read_all, wait_until
from tests.integration.load import numbered, produce


def same_order(
    source: Kafka, target: Kafka, topic: str, daemon: Daemon, seconds: float = 90.0
) -> dict[int, list[Record]]:
    """Wait until the target holds the same records in the same order, whatever their offsets; return the source's."""
    there = {
        number: [each[2:] for each in records]
        for number, records in read_all(source, topic, isolation=Isolation.READ_COMMITTED).items()
    }

    def here() -> bool:
        found = read_all(target, topic)
        return {number: [each[2:] for each in records] for number, records in found.items()} == there

    wait_until("the same records in the same order", here, seconds, every=0.5)
    assert daemon.mirror(topic)["state"] == "ACTIVE"
    return read_all(source, topic, isolation=Isolation.READ_COMMITTED)


def verify(daemon: Daemon, flow: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Compare from outside of the daemon."""
    command = [str(REPLICATOR), "verify", flow, "-c", str(daemon.file), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def all_verified(daemon: Daemon, topic: str) -> bool:
    """Return whether everything that was copied was compared with the source by the daemon."""
    return all(
        one["verified_through"] is not None and one["verified_through"] >= one["source_end"] - one["lag_records"]
        for one in daemon.mirror(topic)["partitions"]
    )


@pytest.mark.long
def test_a_mapped_flow_leaves_markers_and_aborted_records_out(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """No offset of the target is spent on what holds no record; a daemon that is killed finds its place again."""
    create(east, topic_name, 4)
    daemon = lab.daemon(east, west, topic_name, offsets="mapped", verify={"continuous": True})
    transactions(east, topic_name, 40, 4, f"{topic_name}-a")
    daemon.start()
    for round_number in range(3):
        transactions(east, topic_name, 25, 4, f"{topic_name}-{round_number}", seed=round_number)
        daemon.kill()
        transactions(east, topic_name, 10, 4, f"{topic_name}-x{round_number}", seed=10 + round_number)
        daemon.start()

    found = same_order(east, west, topic_name, daemon)

    here = read_all(west, topic_name)
    assert all([each.offset for each in records] == list(range(len(records))) for records in here.values())
    assert {one["offsets"] for one in daemon.mirror(topic_name)["partitions"]} == {"mapped"}
    assert daemon.metric("replicator_filled_offsets_total") == 0
    for words in (["--wait", "20s"], ["--digest"]):
        verified = verify(daemon, lab.flow, *words)
        assert verified.returncode == 0, verified.stdout + verified.stderr
    wait_until("all is verified", lambda: all_verified(daemon, topic_name))
    assert daemon.metric("replicator_verify_differences_total") == 0
    wait_until("the status agrees", lambda: daemon.flow()["lag_records"] == 0)
    assert sum(map(len, found.values())) > 100
    assert daemon.stop() == 0
    produce(west, topic_name, [{"value": b"not a copy"}])
    assert verify(daemon, lab.flow).returncode == 1


@pytest.mark.long
def test_a_hole_beyond_the_limit_turns_to_mapped_offsets(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Identical up to there, then mapped; `offsets: identical` would have stopped."""
    create(east, topic_name)
    produce(east, topic_name, numbered(30))
    transactions(east, topic_name, 10, 1, f"{topic_name}-a", seed=random.Random(1).randrange(9))  # noqa: S311 - test data
    daemon = lab.daemon(east, west, topic_name, fill_limit=1).start()

    same_order(east, west, topic_name, daemon)

    here = read_all(west, topic_name)[0]
    assert [each.offset for each in here][:30] == list(range(30))
    assert daemon.mirror(topic_name)["partitions"][0]["offsets"] == "mapped"
