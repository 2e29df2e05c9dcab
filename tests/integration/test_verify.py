"""Verify against real clusters: what is equal passes, and each single change is found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its __init__ has no __all__

from replicator.cli.main import main
from replicator.core.verify.record_diff import Kind
from replicator.engine.verify import compare as module
from replicator.engine.verify.compare import VerifyOptions, verify
from replicator.engine.verify.pool import VerifyProgress
from replicator.engine.verify.result import TopicVerdict, VerifyResult, to_json
from replicator.model.security import ClusterSpec

OPTIONS = VerifyOptions(fetch_bytes=1 << 20)


class Kafka(Protocol):
    """What these tests need of a cluster."""

    @property
    def bootstrap(self) -> str:
        """Addresses, separated by commas."""


@dataclass(frozen=True, slots=True)
class Item:
    """One record to be written; partition 0 unless said."""

    value: bytes | None
    key: bytes | None = None
    when: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int = 0


ITEMS = [
    Item(b"value-%d" % at, b"key-%d" % at, 1_700_000_000_000 + at, (("a", b"1"), ("a", None)), at % 3)
    for at in range(3000)
]


def spec(cluster: Kafka, alias: str) -> ClusterSpec:
    """Return how to reach a cluster."""
    pairs = (address.rsplit(":", 1) for address in cluster.bootstrap.split(","))
    return ClusterSpec(alias, tuple((host, int(port)) for host, port in pairs))


def create(cluster: Kafka, topic: str, partitions: int = 3, **configs: str) -> None:
    """Create a topic with one replica, whose old record times retention leaves alone."""
    named = {"retention.ms": "-1"} | {name.replace("_", "."): value for name, value in configs.items()}
    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    client.create_topics([NewTopic(topic, partitions, 1, config=named)])[topic].result(30)


def write(cluster: Kafka, topic: str, items: list[Item]) -> None:
    """Write records in order."""
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap, "log_level": 0, "enable.idempotence": True, "linger.ms": 5}
    )
    for item in items:
        producer.produce(topic, item.value, item.key, item.partition, timestamp=item.when, headers=list(item.headers))
    assert producer.flush(30) == 0


def delete_below(cluster: Kafka, topic: str, offset: int) -> None:
    """Move the log start of partition 0."""
    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    for done in client.delete_records([Position(topic, 0, offset)]).values():
        done.result(30)


class Pair:
    """One topic of both clusters."""

    def __init__(self, east: Kafka, west: Kafka, topic: str) -> None:
        self.east, self.west, self.topic = east, west, topic

    def write(self, source: list[Item], target: list[Item], partitions: int = 3, **configs: str) -> None:
        """Create the topic on both and fill it."""
        for cluster, items in ((self.east, source), (self.west, target)):
            create(cluster, self.topic, partitions, **configs)
            write(cluster, self.topic, items)

    async def verify(self, options: VerifyOptions = OPTIONS) -> TopicVerdict:
        """Compare."""
        (verdict,) = (await self.result(options)).topics
        return verdict

    async def result(
        self, options: VerifyOptions = OPTIONS, progress: Callable[[VerifyProgress], None] | None = None
    ) -> VerifyResult:
        """Compare, and return the whole result."""
        return await verify(
            spec(self.east, "east"), spec(self.west, "west"), {self.topic: self.topic}, options, progress
        )


@pytest.fixture
def both(east: Kafka, west: Kafka, topic_name: str) -> Pair:
    """Return a topic name on both clusters; nothing is created yet."""
    return Pair(east, west, topic_name)


async def test_equal_topics(both: Pair) -> None:
    """Counts, progress, and the same digest on a second run with other chunks."""
    both.write(ITEMS, ITEMS)
    seen: list[VerifyProgress] = []

    result = await both.result(progress=seen.append)
    again = await both.result(replace(OPTIONS, workers=1, fetch_bytes=64 << 20))

    assert result.equal
    assert (result.records, result.behind) == (3000, 0)
    assert [part.records for part in result.topics[0].partitions] == [1000, 1000, 1000]
    digests = [part.digest for part in result.topics[0].partitions]
    assert len(set(digests)) == 3
    assert digests == [part.digest for part in again.topics[0].partitions]
    assert (seen[-1].partitions_done, seen[-1].records, seen[-1].offsets_done) == (3, 3000, 3000)
    assert json.loads(json.dumps(to_json(result)))["equal"] is True


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        (replace(ITEMS[1501], value=b"value-15O1"), Kind.VALUE),
        (replace(ITEMS[1501], value=None), Kind.VALUE),
        (replace(ITEMS[1501], key=b""), Kind.KEY),
        (replace(ITEMS[1501], when=ITEMS[1501].when + 1), Kind.TIMESTAMP),
        (replace(ITEMS[1501], headers=(("a", None), ("a", b"1"))), Kind.HEADERS),
        (replace(ITEMS[1501], headers=(("a", b"1"), ("a", b""))), Kind.HEADERS),
    ],
)
async def test_one_changed_field_is_found(both: Pair, changed: Item, kind: Kind) -> None:
    """One byte, one millisecond, one header among 3,000 records."""
    both.write(ITEMS, [*ITEMS[:1501], changed, *ITEMS[1502:]])

    verdict = await both.verify()

    assert not verdict.equal
    assert verdict.counts == ((kind.value, 1),)
    assert (verdict.first[0].partition, verdict.first[0].offset, verdict.first[0].kind) == (1, 500, kind)
    assert verdict.records == 3000


async def test_a_lost_record_is_found(both: Pair) -> None:
    """Without it every later record stands at another offset."""
    both.write(ITEMS, [*ITEMS[:300], *ITEMS[303:]])
    verdict = await both.verify()
    assert not verdict.equal
    assert verdict.differences == 3 * 899
    assert verdict.behind == 3
    assert len(verdict.first) == 10
    assert verdict.first[0].offset == 100


async def test_a_foreign_record_at_the_end_of_the_target_is_found(both: Pair) -> None:
    """The source never had it, whatever its end was when this began."""
    both.write(ITEMS, [*ITEMS, Item(b"foreign", partition=2)])
    verdict = await both.verify()
    assert verdict.counts == ((Kind.EXTRA.value, 1),)
    assert verdict.first[0].offset == 1000


async def test_records_of_a_target_whose_source_is_empty_are_found(both: Pair) -> None:
    """There is no common range at all, and yet they are extra."""
    both.write([], ITEMS[:5])
    verdict = await both.verify()
    assert verdict.counts == ((Kind.EXTRA.value, 5),)


async def test_records_that_arrive_meanwhile_are_not_extra(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source's end is read first; what both got since then is compared, not accused."""
    both.write(ITEMS[:600], ITEMS[:600])
    reached = module.reached

    async def then_write(*arguments: object) -> object:
        write(both.east, both.topic, ITEMS[600:900])
        write(both.west, both.topic, ITEMS[600:900])
        return await reached(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "reached", then_write)
    verdict = await both.verify()
    assert verdict.equal
    assert verdict.records == 900


async def test_a_target_that_is_behind_is_not_different(both: Pair) -> None:
    """The offsets not reached are counted; waiting for them ends in time."""
    both.write(ITEMS, ITEMS[:2997])
    began = time.monotonic()
    verdict = await both.verify(replace(OPTIONS, wait_seconds=1.5))
    assert time.monotonic() - began >= 1.5
    assert verdict.equal
    assert (verdict.records, verdict.behind) == (2997, 3)


async def test_what_is_below_a_log_start_is_not_comparable(both: Pair) -> None:
    """On either side; the rest is compared."""
    items = [replace(item, partition=0) for item in ITEMS]
    both.write(items, items, partitions=1)
    delete_below(both.west, both.topic, 1000)
    verdict = await both.verify()
    assert verdict.equal
    assert verdict.records == 2000
    assert verdict.not_comparable == "not comparable: 1000 offsets of the source are below the target's log start"
    delete_below(both.east, both.topic, 2500)
    verdict = await both.verify()
    assert verdict.records == 500
    assert verdict.not_comparable == "not comparable: 1500 offsets of the target are below the source's log start"


async def test_retention_that_overtakes_the_reading(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log start moves after it was read: go on further up, compare nothing twice."""
    items = [replace(item, partition=0) for item in ITEMS]
    both.write(items, items, partitions=1)
    survey = module.survey

    async def then_delete(*arguments: object) -> object:
        found = await survey(*arguments)  # type: ignore[arg-type]
        delete_below(both.east, both.topic, 1200)
        return found

    monkeypatch.setattr(module, "survey", then_delete)
    verdict = await both.verify()
    assert verdict.equal
    assert verdict.records == 1800
    assert verdict.not_comparable is not None


async def test_offsets_without_records(both: Pair) -> None:
    """Aborted transactions and markers, also at the very end, against markers of another kind."""
    for cluster in (both.east, both.west):
        create(cluster, both.topic, 1)
        producer = Producer({"bootstrap.servers": cluster.bootstrap, "log_level": 0, "transactional.id": both.topic})
        producer.init_transactions(30)
        for commit in (True, False, True, False):
            producer.begin_transaction()
            for at in range(5):
                producer.produce(both.topic, b"%d" % at, partition=0, timestamp=1000 + at)
            producer.flush()
            if commit:
                producer.commit_transaction(30)
            else:
                producer.abort_transaction(30)
    verdict = await both.verify()
    assert verdict.equal
    assert (verdict.records, verdict.partitions[0].end, verdict.behind) == (10, 24, 0)


async def test_topics_that_cannot_be_compared(both: Pair) -> None:
    """No target topic; another number of partitions."""
    create(both.east, both.topic, 2)
    assert (await both.verify()).problem == f"topic {both.topic} does not exist on the target"
    create(both.west, both.topic, 1)
    verdict = await both.verify()
    assert verdict.problem == "2 partitions on the source, 1 on the target"
    assert not verdict.equal


@pytest.fixture
def flow_file(both: Pair, tmp_path: Path) -> Path:
    """A file with one flow, of that topic."""
    path = tmp_path / "flows.yaml"
    path.write_text(
        f"""
version: 1
clusters:
  east: {{bootstrap: "{both.east.bootstrap}"}}
  west: {{bootstrap: "{both.west.bootstrap}"}}
flows:
  east-to-west:
    from: east
    to: west
    topics: {{include: ["{both.topic}*"]}}
"""
    )
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command line; return (exit code, standard output, standard error)."""
    with pytest.raises(SystemExit) as ended:
        main(["verify", *words])
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def test_command_equal(both: Pair, flow_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, a table or JSON on standard output, the rest on standard error."""
    both.write(ITEMS, ITEMS)
    code, out, err = run(capsys, "east-to-west", "-c", str(flow_file))
    assert code == 0
    assert both.topic in out
    assert "equal" in out
    assert "3,000 records" in err
    code, out, _ = run(capsys, "east-to-west", "-c", str(flow_file), "--topic", both.topic, "-o", "json")
    assert code == 0
    found = json.loads(out)
    assert (found["schema_version"], found["equal"], found["complete"], found["records"]) == (1, True, True, 3000)


def test_command_different(both: Pair, flow_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 with the first differences."""
    both.write(ITEMS, [*ITEMS[:1501], replace(ITEMS[1501], value=b"other"), *ITEMS[1502:]])
    code, out, err = run(capsys, "east-to-west", "-c", str(flow_file))
    assert code == 1
    assert "DIFFERENT" in out
    assert "from byte 0" in out
    assert f"{both.topic}-1@500 value" in err


def test_command_behind(both: Pair, flow_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 5: what is there is equal, and the wait is over."""
    both.write(ITEMS, ITEMS[:2000])
    code, out, err = run(capsys, "east-to-west", "-c", str(flow_file), "--wait", "100ms")
    assert code == 5
    assert "behind" in out
    assert "1,000 offsets behind" in err


def test_command_usage(both: Pair, flow_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 with the nearest name."""
    create(both.east, both.topic)
    code, _, err = run(capsys, "east-to-wets", "-c", str(flow_file))
    assert (code, "did you mean east-to-west?" in err) == (2, True)
    code, _, err = run(capsys, "east-to-west", "-c", str(flow_file), "--topic", both.topic + "x")
    assert (code, f"did you mean {both.topic}?" in err) == (2, True)
    code, _, err = run(capsys, "east-to-west", "-c", str(flow_file), "--wait", "soon")
    assert (code, "--wait: 'soon' is not a number with a unit" in err) == (2, True)
