"""Verify by digests against real clusters: both sides at once, and one side against a file of the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from replicator.engine.verify import compare as module
from replicator.engine.verify.compare import VerifyOptions
from replicator.engine.verify.digests.digest import DigestOptions, verify_digests
from replicator.engine.verify.digests.result import TopicDigestVerdict
from tests.integration.test_verify import ITEMS, Item, Kafka, Pair, delete_below, run, spec, write

OPTIONS = DigestOptions(VerifyOptions(fetch_bytes=1 << 20), range_offsets=300)
FLIPPED = [*ITEMS[:1501], replace(ITEMS[1501], value=b"value-15O1"), *ITEMS[1502:]]
"""Another record in partition 1 at offset 500."""


async def digests(both: Pair, options: DigestOptions = OPTIONS) -> TopicDigestVerdict:
    """Compare both sides."""
    found = await verify_digests(spec(both.east, "east"), spec(both.west, "west"), {both.topic: both.topic}, options)
    return found.topics[0]


@pytest.fixture
def both(east: Kafka, west: Kafka, topic_name: str) -> Pair:
    """Return a topic name on both clusters; nothing is created yet."""
    return Pair(east, west, topic_name)


class Command:
    """`replicator verify FLOW -c FILE --digest` on a flow of one topic."""

    def __init__(self, both: Pair, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys
        self._file = directory / "flows.yaml"
        self._both = both
        self.write(both.east.bootstrap, both.west.bootstrap)

    def write(self, east: str, west: str) -> None:
        """Write the flow file with these addresses."""
        self._file.write_text(
            f"""
version: 1
clusters:
  east: {{bootstrap: "{east}", client: {{request_timeout: 5s}}}}
  west: {{bootstrap: "{west}", client: {{request_timeout: 5s}}}}
flows:
  east-to-west: {{from: east, to: west, topics: {{include: ["{self._both.topic}"]}}}}
"""
        )

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run it; return (exit code, standard output, standard error)."""
        return run(self._capsys, "east-to-west", "-c", str(self._file), "--digest", *words)

    def one_side(self, side: str) -> Path:
        """Write a file with the digests of one side."""
        code, out, _ = self("--side", side, "--range-offsets", "300", "-o", "json")
        assert code == 0
        path = self.directory / f"{side}.json"
        path.write_text(out)
        return path

    def against(self, file: Path) -> tuple[int, dict[str, Any]]:
        """Compare with such a file; return (exit code, document)."""
        code, out, _ = self("--against", str(file), "--wait", "100ms", "-o", "json")
        return code, dict(json.loads(out))


@pytest.fixture
def command(both: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return the command line of a flow of that topic."""
    return Command(both, tmp_path, capsys)


async def test_equal_sides(both: Pair) -> None:
    """Every range of every partition; the last one is cut by the end."""
    both.write(ITEMS, ITEMS)
    verdict = await digests(both)
    assert verdict.equal
    assert [(part.equal_ranges, part.end, part.records) for part in verdict.partitions] == [(4, 1000, 1000)] * 3


async def test_one_flipped_record_is_in_its_range(both: Pair) -> None:
    """One byte among 3,000 records; the ranges beside it are equal."""
    both.write(ITEMS, FLIPPED)
    verdict = await digests(both)
    assert verdict.equal is False
    assert (verdict.equal_ranges, verdict.different_ranges) == (11, 1)
    (pair,) = verdict.partitions[1].different
    assert (pair.start, pair.end, pair.source.records, pair.target.records) == (300, 600, 300, 300)


@pytest.mark.long
async def test_ends_that_differ(both: Pair) -> None:
    """A target that is behind is not different; one that is longer is."""
    both.write(ITEMS, ITEMS[:2700])
    verdict = await digests(both)
    assert (verdict.equal, verdict.behind) == (True, 300)
    write(both.west, both.topic, [*ITEMS[2700:], Item(b"foreign", partition=2)])
    verdict = await digests(both)
    (pair,) = verdict.partitions[2].different
    assert (verdict.equal, pair.start, pair.target.records - pair.source.records) == (False, 900, 1)


@pytest.mark.long
async def test_a_log_start_that_moves_meanwhile(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides are cut at the same offset, and the rest is compared."""
    items = [replace(item, partition=0) for item in ITEMS]
    both.write(items, items, partitions=1)
    survey = module.survey

    async def then_delete(*arguments: object) -> object:
        found = await survey(*arguments)  # type: ignore[arg-type]
        delete_below(both.east, both.topic, 1250)
        return found

    monkeypatch.setattr("replicator.engine.verify.digests.digest.survey", then_delete)
    verdict = await digests(both)
    assert verdict.equal
    assert [(part.records, part.not_comparable) for part in verdict.partitions] == [(1750, 1250)]


@pytest.mark.long
async def test_compaction_explains_what_a_digest_cannot(both: Pair) -> None:
    """A superseded record that one cleaner took is excused; the last record of a key is never taken."""
    shared = [Item(b"1", b"a"), Item(b"2", b"b"), Item(b"3", b"c")]
    both.write([*shared, Item(b"4", b"a")], [], partitions=1, cleanup_policy="compact")
    aborted(both.west, both.topic)
    write(both.west, both.topic, [*shared[2:], Item(b"4", b"a")])  # offsets 2 and 3; 0 and 1 hold no record

    verdict = await digests(both, replace(OPTIONS, range_offsets=1))

    assert verdict.equal is False
    assert [(pair.start, pair.end) for pair in verdict.partitions[0].different] == [(1, 2)]
    assert (verdict.partitions[0].excused, verdict.equal_ranges) == (1, 2)


def aborted(cluster: Kafka, topic: str) -> None:
    """Write an aborted record and its marker: two offsets without a record for a reader of committed ones."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "log_level": 0, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"never", b"x", 0)
    producer.flush(30)
    producer.abort_transaction(30)


@pytest.mark.long
def test_command_both_sides(both: Pair, command: Command) -> None:
    """A table with the ranges that differ, JSON, and the exit codes of `verify`."""
    both.write(ITEMS, FLIPPED)
    code, out, err = command("--range-offsets", "300")
    assert code == 1
    assert "DIFFERENT" in out
    assert "1 of 1 topics differ, in 1 ranges" in err
    code, out, _ = command("-o", "json")
    found = json.loads(out)
    assert (code, found["equal"], found["range_offsets"], found["topics"][0]["ranges_equal"]) == (1, False, 100_000, 2)


def test_one_side_against_a_file_of_the_other(both: Pair, command: Command) -> None:
    """Each way round; the other cluster need not be in reach, and nothing but digests is in the file."""
    both.write(ITEMS, FLIPPED)
    nowhere = "127.0.0.1:1"
    command.write(both.east.bootstrap, nowhere)
    source = command.one_side("source")
    assert b"value-1501" not in source.read_bytes()
    command.write(nowhere, both.west.bootstrap)
    target = command.one_side("target")

    code, found = command.against(source)
    assert (code, found["equal"]) == (1, False)
    (different,) = found["topics"][0]["partitions"][1]["different"]
    assert (different["start"], different["end"]) == (300, 600)
    command.write(both.east.bootstrap, nowhere)
    code, found = command.against(target)
    assert (code, found["topics"][0]["ranges_different"], found["topics"][0]["ranges_equal"]) == (1, 1, 11)


@pytest.mark.long
def test_a_file_and_ends_that_moved_since(both: Pair, command: Command) -> None:
    """What both cover is compared; what the target has not got is behind, what it has beyond the file is not."""
    both.write(ITEMS, ITEMS[:2400])
    source, target = command.one_side("source"), command.one_side("target")
    code, found = command.against(source)
    assert (code, found["equal"], found["behind"]) == (5, True, 3 * 400)  # the range in which it ends cannot be cut
    code, found = command.against(target)
    assert (code, found["equal"], found["behind"]) == (5, True, 3 * 200)

    write(both.west, both.topic, ITEMS[2400:])
    write(both.west, both.topic, ITEMS[:3])
    code, found = command.against(source)
    assert (code, found["equal"], found["behind"]) == (0, True, 0)
    assert [part["not_covered"] for part in found["topics"][0]["partitions"]] == [1, 1, 1]
    code, found = command.against(command.one_side("target"))
    assert (code, found["topics"][0]["ranges_different"]) == (1, 3)  # the source was read later and never had them


@pytest.mark.long
def test_a_compacted_topic_against_a_file(both: Pair, command: Command) -> None:
    """Nobody can look at the records: exit 5, and no verdict."""
    both.write(ITEMS, FLIPPED, cleanup_policy="compact")
    code, found = command.against(command.one_side("source"))
    assert (code, found["equal"]) == (5, None)
    code, out, err = command("--against", str(command.directory / "source.json"))
    assert (code, "undecided: the topic is compacted" in out, "cleaner" in err) == (5, True, True)


def test_command_usage(both: Pair, command: Command) -> None:
    """Exit 2 for what cannot be meant."""
    both.write(ITEMS[:3], ITEMS[:3])
    source = command.one_side("source")
    for words, text in (
        (["--side", "source"], "add -o json"),
        (["--against", str(source), "--side", "source"], "use --side target"),
        (["--against", str(source), "--range-offsets", "7"], "ranges of 300"),
        (["--against", str(source), "--topic", "other"], "no topic other"),
        (["--continuous"], "cannot be combined"),
    ):
        code, _, err = command(*words)
        assert (code, text in err) == (2, True), err
    source.write_text(source.read_text().replace('"east-to-west"', '"other"'))
    code, _, err = command("--against", str(source))
    assert (code, "of flow other" in err) == (2, True)
