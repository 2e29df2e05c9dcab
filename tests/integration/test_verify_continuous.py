"""Continuous verification on real clusters: in the daemon beside the copy, and in the foreground without one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.integration.corpus.compaction import cleaned, compacted
from tests.integration.corpus.judge import same_records
from tests.integration.corpus.transactional import transactions
from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, delete_below, read_all, wait_copied, wait_until
from tests.integration.load import Load, numbered, produce

VERIFY = {"continuous": True, "bytes_per_second": "64MiB"}
WHEN = 1_700_000_000_000


def shown(daemon: Daemon, topic: str) -> list[tuple[int | None, int | None]]:
    """Return (verified through, differences) of each partition."""
    parts = daemon.mirror(topic).get("partitions", [])
    return [(part["verified_through"], part["verify_differences"]) for part in parts]


def wait_verified(daemon: Daemon, topic: str, *expected: tuple[int, int], seconds: float = 60.0) -> None:
    """Wait until it shows that."""
    last: list[Any] = []

    def there() -> bool:
        last[:] = shown(daemon, topic)
        return last == list(expected)

    try:
        wait_until(f"{topic} is verified", there, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {last}, expected {expected}") from None


def ages(daemon: Daemon, topic: str) -> list[float | None]:
    """Return how old the verification of each partition is."""
    return [part["verified_age_seconds"] for part in daemon.mirror(topic)["partitions"]]


@pytest.mark.long
def test_the_daemon_verifies_to_the_end_and_finds_a_planted_difference(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """A foreign record takes an offset of ours; once the copy goes on behind it, only a comparison can tell."""
    create(east, topic_name, 2)
    for partition in range(2):
        produce(east, topic_name, numbered(300, partition=partition, timestamp=WHEN))
    daemon = lab.daemon(east, west, topic_name, verify=VERIFY).start()

    wait_verified(daemon, topic_name, (300, 0), (300, 0))
    produce(east, topic_name, numbered(50, 300, timestamp=WHEN))
    wait_verified(daemon, topic_name, (350, 0), (300, 0))
    assert all(age is not None and age < 10 for age in ages(daemon, topic_name))
    assert daemon.metric("replicator_verified_through_offset") == 650
    assert daemon.metric("replicator_verify_differences_total") == 0

    ours = {"value": b"ours", "key": b"k", "timestamp": WHEN}
    produce(west, topic_name, [{"value": b"foreign", "key": b"k", "timestamp": WHEN}])
    produce(east, topic_name, [ours])  # is written at 351, which stops the partition
    daemon.wait_state(topic_name, "FAULTED", "foreign_writer")
    produce(east, topic_name, [ours])  # now the record at 351 is the same on both sides, and behind it all is well
    assert daemon.stop() == 0
    daemon.start()
    daemon.wait_state(topic_name, "ACTIVE")

    wait_verified(daemon, topic_name, (352, 1), (300, 0))
    assert daemon.metric("replicator_verify_differences_total") == 1
    said = [line for line in daemon.log_tail().splitlines() if "source and target differ" in line]
    assert len(said) == 1
    assert f"{topic_name}-0@350" in said[0]
    assert "value 4 B" in said[0]
    assert f"{topic_name}-0 DIFFERENT: 1 records" in daemon.cli("flow", "status", lab.flow).stdout
    assert "DIFFER" in daemon.cli("mirror", "describe", lab.flow, topic_name).stdout

    produce(east, topic_name, numbered(5, timestamp=WHEN))
    wait_verified(daemon, topic_name, (357, 1), (300, 0))  # it goes on, and says no more


@pytest.mark.long
def test_a_paused_flow_and_log_starts_that_move(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Slow enough that retention overtakes it on both sides; what it has no time for is skipped, not different.

    Below the log starts lie 52 MB: half a minute for the verification. They do not compress, and lie in values, since
    librdkafka's bound of what it reads ahead does not count headers: what was read ahead no log start can overtake.
    Above them lies next to nothing, so that it ends soon.
    """
    create(east, topic_name)
    chance = random.Random(1)  # noqa: S311 - test data
    large = ({"value": chance.randbytes(20_000)} for _ in range(2600))
    produce(east, topic_name, [*large, *numbered(400, 2600)])
    daemon = lab.daemon(east, west, topic_name, verify=VERIFY | {"bytes_per_second": "3MiB"}).start()
    wait_copied(east, west, topic_name)
    assert daemon.cli("flow", "pause", lab.flow, "--wait").returncode == 0
    wait_until("it has begun", lambda: any((through or 0) > 0 for through, _ in shown(daemon, topic_name)))

    delete_below(east, topic_name, 2700)
    delete_below(west, topic_name, 2800)

    wait_verified(daemon, topic_name, (3000, 0))
    wait_until("it says what it left out", lambda: skipped(daemon) > 0, 5)
    assert 100 < skipped(daemon) < 2800  # the target's alone would pass 100; it had begun
    time.sleep(3)
    assert ages(daemon, topic_name)[0] < 5  # type: ignore[operator] # nothing new, which is looked at all the same
    assert '"event": "not verified"' not in daemon.log_tail()


def skipped(daemon: Daemon) -> int:
    """Return how many offsets it says that log starts have passed."""
    said = [line for line in daemon.log_tail().splitlines() if "a log start has passed them" in line]
    return sum(json.loads(line)["offsets"] for line in said)


@contextmanager
def followed(source: Kafka, target: Kafka, topic: str, directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run `replicator verify --continuous` in the foreground; it is killed at the end."""
    file = directory / "flows.yaml"
    clusters = {"east": {"bootstrap": source.bootstrap}, "west": {"bootstrap": target.bootstrap}}
    flow = {"from": "east", "to": "west", "topics": {"include": [topic]}}
    file.write_text(json.dumps({"version": 1, "clusters": clusters, "flows": {"copy": flow}}))
    command = [str(REPLICATOR), "verify", "copy", "-c", str(file), "--continuous", "--every", "500ms", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_round(process: subprocess.Popen[str], *texts: str) -> str:
    """Return the first line that holds all these texts; pytest's time-out bounds the wait."""
    out: IO[str] | None = process.stdout
    assert out is not None
    for line in out:
        if all(text in line for text in texts):
            return line
    raise AssertionError(f"it ended with {process.wait()}: {process.stderr.read() if process.stderr else ''}")


def test_in_the_foreground_it_follows_until_something_differs(
    east: Kafka, west: Kafka, topic_name: str, tmp_path: Path
) -> None:
    """A line per round; a target behind is no difference; the first difference ends it with 1."""
    for cluster in (east, west):
        create(cluster, topic_name)
        produce(cluster, topic_name, numbered(500, timestamp=WHEN))
    with followed(east, west, topic_name, tmp_path) as process:
        assert next_round(process, "through 500 of 500").rstrip().endswith("s, 0 differences")
        produce(east, topic_name, numbered(20, 500, timestamp=WHEN))
        next_round(process, "through 500 of 500", "target 20 behind")
        produce(west, topic_name, numbered(10, 500, timestamp=WHEN))
        next_round(process, "through 510 of 510", "0 differences, target 10 behind")
        produce(west, topic_name, numbered(10, 999, timestamp=WHEN))
        next_round(process, "through 520 of 520", "10 differences")
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert f"{topic_name}-0@510 key" in process.stderr.read()


def test_in_the_foreground_it_ends_by_ctrl_c(east: Kafka, west: Kafka, topic_name: str, tmp_path: Path) -> None:
    """With 130; JSON has a document per round, null for what is not known."""
    create(east, topic_name)
    with followed(east, west, topic_name, tmp_path, "-o", "json") as process:
        first = json.loads(next_round(process, "schema_version"))
        assert first["problems"] == [f"topic {topic_name} does not exist on the target"]
        assert first["verified_age_seconds"] is None
        create(west, topic_name)
        found = json.loads(next_round(process, '"problems": []', "partitions"))
        assert found["partitions"][0]["verified_through"] == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


@pytest.mark.long
@pytest.mark.timeout(400)
def test_every_shape_of_log_is_verified(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Transactions, holes of compaction under two cleaners that work while it is compared, and load: no difference."""
    names = [f"{topic_name}-{kind}" for kind in ("transactions", "compacted", "load")]
    create(east, names[0], 2)
    compacted(east, names[1])
    create(east, names[2], 3)
    transactions(east, names[0], 60, 2, topic_name)
    produce(east, names[1], ({"key": b"%d" % (at % 50), "value": b"%d" % at} for at in range(3000)))
    daemon = lab.daemon(east, west, *names, verify=VERIFY).start()
    with Load(east, {names[2]: 3}, per_second=3000) as load:
        produce(east, names[1], ({"key": b"%d" % (at % 70), "value": b"%d" % at} for at in range(3000)))
        cleaned(east, names[1])
        transactions(east, names[0], 60, 2, topic_name, seed=2)
    load.check(names[2], assert_equal(east, west, names[2]))
    same_records(east, west, names[0])
    wait_copied(east, west, names[1])

    def all_verified() -> bool:
        parts = [part for name in names for part in daemon.mirror(name)["partitions"]]
        return all(part["verified_through"] == part["source_end"] for part in parts)

    wait_until("all is verified", all_verified, 60)
    time.sleep(5)  # another look at what is still an open question
    assert daemon.metric("replicator_verify_differences_total") == 0
    assert '"event": "not verified"' not in daemon.log_tail()
    assert len(read_all(east, names[1])[0]) < 600
