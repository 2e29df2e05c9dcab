"""A man in the middle of a real broker: what it answers is read, changed and written again before it arrives."""

from __future__ import annotations

import importlib
import io
import struct
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka import TopicCollection
from crc32c import crc32c
from kio.serial import entity_reader, entity_writer

from replicator.devkit import Cluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, Record, admin, bounds, create, read_all, wait_until
from tests.integration.load import produce
from tests.integration.proxy import FaultProxy, spoil_nothing

PRODUCE, FETCH, LIST_OFFSETS, METADATA, OFFSET_FETCH, FIND_COORDINATOR, API_VERSIONS = 0, 1, 2, 3, 9, 10, 18
DESCRIBE_GROUPS, LIST_GROUPS, CREATE_TOPICS, DELETE_TOPICS, DESCRIBE_ACLS, ALTER_CONFIGS = 15, 16, 19, 20, 29, 44
INIT_PRODUCER_ID, EPOCH_ENDS, DESCRIBE_CONFIGS, DESCRIBE_PRODUCERS = 22, 23, 32, 61
_NAMES = {
    PRODUCE: "produce",
    FETCH: "fetch",
    LIST_OFFSETS: "list_offsets",
    METADATA: "metadata",
    OFFSET_FETCH: "offset_fetch",
    FIND_COORDINATOR: "find_coordinator",
    API_VERSIONS: "api_versions",
    DESCRIBE_GROUPS: "describe_groups",
    LIST_GROUPS: "list_groups",
    CREATE_TOPICS: "create_topics",
    DELETE_TOPICS: "delete_topics",
    DESCRIBE_ACLS: "describe_acls",
    ALTER_CONFIGS: "incremental_alter_configs",
    INIT_PRODUCER_ID: "init_producer_id",
    EPOCH_ENDS: "offset_for_leader_epoch",
    DESCRIBE_CONFIGS: "describe_configs",
    DESCRIBE_PRODUCERS: "describe_producers",
}
_SIZE = struct.Struct(">i")
_CORRELATION_BYTES = 4

Change = Callable[[Any], Any]
"""From an answer, or a part of it, to what is told instead."""


@dataclass(frozen=True, slots=True)
class Middle:
    """A cluster of one broker, its address through the proxy, and the proxy."""

    cluster: Cluster
    bootstrap: str
    proxy: FaultProxy

    def honest(self) -> None:
        """Touch nothing from now on."""
        self.proxy.spoil = spoil_nothing


def kind_of(api: int, version: int) -> type[Any]:
    """Return kio's type of an answer."""
    name = _NAMES[api]
    module = importlib.import_module(f"kio.schema.{name}.v{version}.response")
    return getattr(module, "".join(part.title() for part in name.split("_")) + "Response")  # type: ignore[no-any-return]


def changed(api: int, version: int, frame: bytes, change: Change) -> bytes:
    """Return a frame whose answer was changed."""
    kind = kind_of(api, version)
    at = _SIZE.size + _CORRELATION_BYTES
    if kind.__header_schema__.__flexible__:
        at += 1  # brokers send no tags here
    answer, _ = entity_reader(kind)(frame, at)
    return framed(frame[_SIZE.size : at] + encoded(change(answer)))


def framed(raw: bytes) -> bytes:
    """Return bytes with their length in front."""
    return _SIZE.pack(len(raw)) + raw


def encoded(message: Any) -> bytes:
    """Return the bytes of a message."""
    out = io.BytesIO()
    entity_writer(type(message))(out, message)
    return out.getvalue()


class Lying:
    """Changes answers of some kinds, and counts.

    Args:
        changes: By kind of request; a frame that is not to be changed comes back as it was.

    Attributes:
        seen: Answers that passed, by kind.
        told: Answers that were changed, by kind.
    """

    def __init__(self, changes: dict[int, Callable[[int, bytes], bytes]]) -> None:
        self._changes = changes
        self.seen: Counter[int] = Counter()
        self.told: Counter[int] = Counter()

    def __call__(self, api: int, version: int, frame: bytes) -> bytes:
        """Return the frame that arrives."""
        self.seen[api] += 1
        change = self._changes.get(api)
        if change is None:
            return frame
        arrives = change(version, frame)
        self.told[api] += arrives != frame
        return arrives


def lying(api: int, change: Change) -> Lying:
    """Return what changes every answer of one kind."""
    return Lying({api: lambda version, frame: changed(api, version, frame, change)})


def topic_id(cluster: Cluster, topic: str) -> uuid.UUID:
    """Return a topic's id."""
    found = admin(cluster).describe_topics(TopicCollection([topic]))[topic].result(30).topic_id
    high, low = found.get_most_significant_bits(), found.get_least_significant_bits()
    return uuid.UUID(bytes=struct.pack(">qq", high, low))


def of_partitions(topic: uuid.UUID | str, changes: dict[int, Change]) -> Change:
    """Return the change of an answer that touches these partitions of one topic, which it knows by id or by name."""

    def of_answer(answer: Any) -> Any:
        return _each(answer, ("responses", "topics"), of_topic)

    def of_topic(told: Any) -> Any:
        if topic not in {getattr(told, name, None) for name in ("topic_id", "name", "topic")}:
            return told
        return _each(told, ("partitions", "partition_responses"), of_partition)

    def of_partition(told: Any) -> Any:
        number = next(getattr(told, name) for name in _INDEXES if hasattr(told, name))
        change = changes.get(int(number))
        return told if change is None else change(told)

    return of_answer


_INDEXES = ("partition_index", "index", "partition")


def _each(told: Any, names: tuple[str, ...], change: Change) -> Any:
    """Return an answer, or a part of it, each of whose parts was changed."""
    name = next(one for one in names if hasattr(told, one))
    return replace(told, **{name: tuple(change(one) for one in getattr(told, name))})


# -- record batches ---------------------------------------------------------------------------------------------------

_FIELDS = {
    "base_offset": (0, "q"),
    "length": (8, "i"),
    "leader_epoch": (12, "i"),
    "magic": (16, "b"),
    "crc": (17, "I"),
    "attributes": (21, "h"),
    "last_offset_delta": (23, "i"),
    "max_timestamp": (35, "q"),
    "producer_id": (43, "q"),
    "count": (57, "i"),
}
_SUMMED_FROM = 21
_PREFIX_BYTES = 12
RECORDS_AT = 61


@dataclass(frozen=True, slots=True)
class Field:
    """How a field of a batch's header is changed; `summed` makes the checksum right again."""

    name: str
    change: Callable[[int], int]
    summed: bool = False

    def __call__(self, raw: bytes) -> bytes:
        """Return the changed batch."""
        at, code = _FIELDS[self.name]
        out = bytearray(raw)
        (value,) = struct.unpack_from(">" + code, out, at)
        struct.pack_into(">" + code, out, at, self.change(value))
        return with_checksum(out) if self.summed else bytes(out)


def with_checksum(raw: bytes | bytearray) -> bytes:
    """Return a batch whose checksum is right."""
    out = bytearray(raw)
    struct.pack_into(">I", out, 17, crc32c(bytes(out[_SUMMED_FROM:])))
    return bytes(out)


def batches(records: bytes) -> Iterator[bytes]:
    """Yield the whole batches of a record set."""
    at = 0
    while at + RECORDS_AT <= len(records):
        (length,) = struct.unpack_from(">i", records, at + 8)
        end = at + _PREFIX_BYTES + length
        if end > len(records):
            return
        yield records[at:end]
        at = end


def rounds(cluster: Kafka, topic: str, count: int, number: int) -> None:
    """Write two more records to each partition."""
    items = [{"value": b"%d in %d" % (number, at), "partition": at} for _ in range(2) for at in range(count)]
    produce(cluster, topic, items)


def bugs(daemon: Daemon) -> list[str]:
    """Return the errors of ours that a daemon logged: each with its stack (`replicator.obs.bugs`)."""
    return [line for line in daemon.log_file.read_text().splitlines() if '"exception": ' in line]


# -- what is looked at beside each lie --------------------------------------------------------------------------------

_MEMORY_KIB_MAX = 300 << 10
_ANSWERS_PER_SECOND_MAX = 100
"""Of a daemon that copies a few records: a loop without a pause asks thousands of times a second."""
_LOG_LINES_PER_SECOND_MAX = 30


class Watched:
    """A daemon of two flows: one past the man in the middle, one that never meets him.

    Args:
        lab: Makes the daemon.
        flow: From and to, the lied-about cluster among them.
        beside: From and to of the other flow.
        topic: The topic of the first flow; that of the other one is named like it.
    """

    def __init__(
        self, lab: Lab, flow: tuple[Kafka, Kafka], beside: tuple[Kafka, Kafka], topic: str, **keys: Any
    ) -> None:
        self.topic, self.beside_topic = topic, f"{topic}-beside"
        # What is compared is read past the man in the middle.
        self._source, self._target = (one.cluster if isinstance(one, Middle) else one for one in flow)
        self._beside = beside
        self.daemon: Daemon = lab.daemon(*flow, topic, **keys)
        clusters, flows = self.daemon.document["clusters"], self.daemon.document["flows"]
        clusters |= {
            f"beside-{at}": {"bootstrap": one.bootstrap} for at, one in zip(("from", "to"), beside, strict=True)
        }
        flows[f"{self.daemon.flow_name}-beside"] = {
            "from": "beside-from",
            "to": "beside-to",
            "topics": {"include": [self.beside_topic]},
            "replication_factor": 1,
        }
        self.daemon.write()
        create(beside[0], self.beside_topic)
        self._went_on = 0
        self._began = (0.0, 0, 0)

    def start(self) -> None:
        """Start it."""
        self.daemon.start()
        self.goes_on_beside()

    def again(self) -> None:
        """Stop it, and begin anew: everything is asked for once more."""
        self.daemon.stop()
        self.daemon.start(ready_seconds=0)

    def goes_on_beside(self) -> None:
        """Wait until the other flow has copied one more record."""
        self._went_on += 1
        produce(self._beside[0], self.beside_topic, [{"value": b"%d" % self._went_on}])
        wait_until("the other flow goes on", lambda: bounds(self._beside[1], self.beside_topic)[0][1] == self._went_on)

    def begin(self, liar: Lying) -> None:
        """Remember where a lie began."""
        self._began = (time.monotonic(), sum(liar.seen.values()), self._log_lines())

    def is_bounded(self, liar: Lying, *, lied_to: bool = True) -> None:
        """Check that nobody asked in a loop, that the log is short and the process small, and that it runs."""
        began, answers, lines = self._began
        seconds = max(5.0, time.monotonic() - began)
        assert sum(liar.told.values()) > 0 or not lied_to, "nobody was lied to"
        assert (sum(liar.seen.values()) - answers) / seconds < _ANSWERS_PER_SECOND_MAX, (seconds, liar.seen)
        assert (self._log_lines() - lines) / seconds < _LOG_LINES_PER_SECOND_MAX
        assert self.daemon.process.poll() is None
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        assert next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) < _MEMORY_KIB_MAX
        assert not bugs(self.daemon)

    def _log_lines(self) -> int:
        return len(self.daemon.log_file.read_bytes().splitlines())

    def partition(self, number: int) -> dict[str, Any]:
        """Return the status of one partition."""
        there = self.daemon.mirror(self.topic).get("partitions", [])
        return next((dict(one) for one in there if one["partition"] == number), {})

    def is_copied(self, number: int) -> bool:
        """Return whether all of one partition is on the target."""
        return bounds(self._target, self.topic)[number][1] == bounds(self._source, self.topic)[number][1]

    def judged(self, *, but: frozenset[int] = frozenset()) -> dict[int, int]:
        """Compare by the independent reader: each partition of the target is a beginning of the source's.

        Args:
            but: Partitions whose records were changed so that nobody could tell.

        Returns:
            How many records of each are missing.
        """
        there, here = read_all(self._source, self.topic), read_all(self._target, self.topic)
        ends = {number: end for number, (_, end) in bounds(self._source, self.topic).items()}
        for number, (_, end) in bounds(self._target, self.topic).items():
            assert end <= ends[number], (
                f"partition {number} was filled up to {end}; the source's ends at {ends[number]}"
            )
            if number not in but:
                _same_beginning(number, there[number], here[number])
        return {number: len(records) - len(here[number]) for number, records in there.items()}


def _same_beginning(number: int, there: list[Record], here: list[Record]) -> None:
    for left, right in zip(there, here, strict=False):
        assert left == right, f"partition {number} was copied wrongly"
    assert len(here) <= len(there), f"partition {number} holds more than its source"
