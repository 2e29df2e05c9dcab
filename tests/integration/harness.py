"""What tests of whole daemons share: flow files, daemons as processes, load with a ledger, and an independent reader.

The reader is confluent-kafka alone, none of our own code: it judges what our code wrote.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from replicator.devkit import free_base_port
from replicator.model.spec import Isolation

REPLICATOR = Path(sys.executable).with_name("replicator")
_LOG_TAIL_BYTES = 12_000
_KAFKA_SECONDS = 30
_T = TypeVar("_T")

CLIENTS = {"request_timeout": "3s", "doubt_margin": "1s"}
"""Short: after a kill, unguarded work has to wait for their sum."""

QUIET = {"log_level": 0}
"""librdkafka writes of every killed broker to standard error."""


class Kafka(Protocol):
    """What is needed of a cluster."""

    @property
    def bootstrap(self) -> str:
        """Addresses, separated by commas."""


# -- waiting ------------------------------------------------------------------------------------------------------


def wait_until(what: str, probe: Callable[[], _T], seconds: float = 120.0, every: float = 0.1) -> _T:
    """Call `probe` until it returns something true, and return that; name `what` was waited for if it never does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found: object = probe()
        except (OSError, KafkaException) as error:  # a daemon that does not listen yet, a broker that was killed
            found = None
            last: object = error
        else:
            if found:
                return found  # type: ignore[return-value] # the probe's own value
            last = found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s; last seen: {last!r}")
        time.sleep(every)


# -- Kafka, from outside --------------------------------------------------------------------------------------------


class Record(NamedTuple):
    """One record as a consumer sees it."""

    offset: int
    timestamp_type: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def admin(cluster: Kafka) -> AdminClient:
    """Return the admin client of a cluster: one for the whole run, its futures end with it."""
    with _MAKING:  # of two that are made at once for one cluster the cache drops one, with what it was asked
        return _admin(cluster.bootstrap)


_MAKING = threading.Lock()


@functools.lru_cache(maxsize=8)
def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, **QUIET})


def create(cluster: Kafka, topic: str, partitions: int = 1, replicas: int = 1, **configs: str) -> None:
    """Create a topic and wait for it; `retention_ms` stands for `retention.ms`. Old records are kept unless told."""
    named = {"retention.ms": "-1"} | {name.replace("_", "."): value for name, value in configs.items()}
    admin(cluster).create_topics([NewTopic(topic, partitions, replicas, config=named)])[topic].result(_KAFKA_SECONDS)
    wait_until(f"{topic} has leaders", lambda: partition_count(cluster, topic) == partitions)


def delete(cluster: Kafka, topic: str) -> None:
    """Delete a topic and wait until it is gone."""
    admin(cluster).delete_topics([topic])[topic].result(_KAFKA_SECONDS)
    wait_until(f"{topic} is gone", lambda: partition_count(cluster, topic) == 0)


def configure(cluster: Kafka, topic: str, **configs: str) -> None:
    """Set settings of a topic."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in configs.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin(cluster).incremental_alter_configs([resource])[resource].result(30)


def config_of(cluster: Kafka, topic: str) -> dict[str, str]:
    """Return the settings of a topic that are its own."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    found = admin(cluster).describe_configs([resource])[resource].result(_KAFKA_SECONDS)
    return {name: entry.value for name, entry in found.items() if not entry.is_default}


def grow(cluster: Kafka, topic: str, partitions: int) -> None:
    """Add partitions."""
    admin(cluster).create_partitions([NewPartitions(topic, partitions)])[topic].result(_KAFKA_SECONDS)


def delete_below(cluster: Kafka, topic: str, offset: int, partition: int = 0) -> None:
    """Move the start of a log."""
    for done in admin(cluster).delete_records([Position(topic, partition, offset)]).values():
        done.result(_KAFKA_SECONDS)


def commit(cluster: Kafka, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Commit offsets of a group, with metadata."""
    made = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, **QUIET})
    positions = [Position(topic, number, offset, "as Streams does") for number, offset in offsets.items()]
    try:
        # The coordinator of a cluster that has just started may still be loading.
        wait_until("offsets are committed", lambda: made.commit(offsets=positions, asynchronous=False), 30)
    finally:
        made.close()


def partition_count(cluster: Kafka, topic: str) -> int:
    """Return how many partitions with a leader a topic has, 0 for none."""
    known = admin(cluster).list_topics(topic, timeout=_KAFKA_SECONDS).topics.get(topic)
    if known is None or known.error is not None:
        return 0
    return sum(1 for partition in known.partitions.values() if partition.leader >= 0)


def leader(cluster: Kafka, topic: str, partition: int = 0) -> int:
    """Return the node that leads a partition."""
    known = admin(cluster).list_topics(topic, timeout=_KAFKA_SECONDS).topics[topic]
    return int(known.partitions[partition].leader)


@contextlib.contextmanager
def consumer(cluster: Kafka, *, isolation: Isolation = Isolation.READ_UNCOMMITTED) -> Iterator[Consumer]:
    """Open a consumer that never begins anywhere by itself."""
    made = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": "judge",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": isolation.value,
            "fetch.wait.max.ms": 50,
            "check.crcs": True,
            **QUIET,
        }
    )
    try:
        yield made
    finally:
        made.close()


def bounds(cluster: Kafka, topic: str) -> dict[int, tuple[int, int]]:
    """Return (log start, high watermark) of each partition."""
    with consumer(cluster) as reader:
        return _bounds(reader, topic)


def bounds_of(
    cluster: Kafka, topics: Iterable[str], *, isolation: Isolation = Isolation.READ_UNCOMMITTED
) -> dict[str, dict[int, tuple[int, int]]]:
    """Return what `bounds` does of those topics that exist; with `read_committed` the last stable offset is the end."""
    with consumer(cluster, isolation=isolation) as reader:
        there = reader.list_topics(timeout=_KAFKA_SECONDS).topics
        return {topic: _bounds(reader, topic) for topic in topics if topic in there}


def _bounds(reader: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    known = reader.list_topics(topic, timeout=_KAFKA_SECONDS).topics[topic]
    return {
        number: reader.get_watermark_offsets(Position(topic, number), timeout=_KAFKA_SECONDS)
        for number in sorted(known.partitions)
    }


def read_all(
    cluster: Kafka, topic: str, *, isolation: Isolation = Isolation.READ_UNCOMMITTED, seconds: float = 120.0
) -> dict[int, list[Record]]:
    """Read every partition from its start to its end."""
    return read_many(cluster, [topic], isolation=isolation, seconds=seconds)[topic]


def read_many(
    cluster: Kafka, topics: Iterable[str], *, isolation: Isolation = Isolation.READ_UNCOMMITTED, seconds: float = 120.0
) -> dict[str, dict[int, list[Record]]]:
    """Read every partition of several topics from its start to its end."""
    deadline = time.monotonic() + seconds
    with consumer(cluster, isolation=isolation) as reader:
        starts = {(topic, number): start for topic in topics for number, (start, _) in _bounds(reader, topic).items()}
        found: dict[str, dict[int, list[Record]]] = {topic: {} for topic, _ in starts}
        for topic, number in starts:
            found[topic][number] = []
        left = set(starts)
        reader.assign([Position(topic, number, start) for (topic, number), start in starts.items()])
        while left:
            assert time.monotonic() < deadline, f"not read to the end within {seconds} s: {left}"
            for message in reader.consume(5000, timeout=0.5):
                error = message.error()
                where = (str(message.topic()), int(message.partition() or 0))
                if error is None:
                    found[where[0]][where[1]].append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(where)
                else:
                    raise AssertionError(f"{where}: {error}")
    return found


def _record(message: Message) -> Record:
    kind, time_ms = message.timestamp()
    headers: Any = message.headers() or ()
    return Record(message.offset(), kind, time_ms, message.key(), message.value(), tuple(headers))  # type: ignore[arg-type] # its stubs allow None


def wait_copied(source: Kafka, target: Kafka, topic: str, *, to: str | None = None, seconds: float = 90.0) -> None:
    """Wait until both sides end at the same offsets; the source has to be idle.

    How long a backlog takes is the machine's affair: what has to come within `seconds` is the next record of it.
    """
    name = to or topic
    wait_until(f"{name} exists on the target", lambda: partition_count(target, name) > 0, seconds)
    ends = {number: end for number, (_, end) in bounds(source, topic).items()}

    with consumer(target) as reader:

        def at() -> dict[int, int]:
            return {number: end for number, (_, end) in _bounds(reader, name).items()}

        def moved() -> bool:
            return at() not in (here, {})

        here = at()
        while here != ends:
            try:
                wait_until(f"{name} is copied on", moved, seconds)
            except AssertionError as error:
                raise AssertionError(f"{error}: {here} of {ends}") from None
            here = at()


def assert_equal(
    source: Kafka, target: Kafka, topic: str, *, to: str | None = None, seconds: float = 90.0
) -> dict[int, list[Record]]:
    """Wait until the copy is complete and compare every field of every record; return what the source holds."""
    wait_copied(source, target, topic, to=to, seconds=seconds)
    there = read_all(source, topic)
    assert_same(topic, there, read_all(target, to or topic))
    return there


def assert_same(topic: str, there: Mapping[int, Sequence[Record]], here: Mapping[int, Sequence[Record]]) -> None:
    """Compare what was read of both sides; name the first difference."""
    assert there.keys() == here.keys(), topic
    for number, records in there.items():
        if records == here[number]:
            continue
        pairs = itertools.zip_longest(records, here[number])
        where, (left, right) = next((at, pair) for at, pair in enumerate(pairs) if pair[0] != pair[1])
        raise AssertionError(
            f"{topic}[{number}] differs at record {where} of {len(records)} / {len(here[number])}:\n"
            f"  source {left}\n  target {right}"
        )


# -- load -----------------------------------------------------------------------------------------------------------


def produce(cluster: Kafka, topic: str, items: Iterable[Mapping[str, Any]], **settings: Any) -> None:
    """Write records (keyword arguments of `Producer.produce`) in order; partition 0 unless said."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 5, **QUIET, **settings})
    for item in items:
        while True:
            try:
                fields: dict[str, Any] = {"partition": 0, "value": b""} | dict(item)
                producer.produce(topic, **fields)
                break
            except BufferError:
                producer.poll(0.05)
    assert producer.flush(60) == 0


def numbered(count: int, first: int = 0, **fields: Any) -> Iterator[dict[str, Any]]:
    """Return records that each carry their number."""
    for number in range(first, first + count):
        yield {"value": b"value-%d" % number, "key": b"key-%d" % number, **fields}


class Load:
    """A producer in the background, with a ledger of what the source acknowledged. A context manager.

    Args:
        cluster: Where to.
        topics: Topic to number of partitions.
        per_second: Records in all.
        seed: Makes sizes and partitions the same again.
        when: Number of a record to its time in ms; now if absent.
        settings: librdkafka settings.
    """

    def __init__(
        self,
        cluster: Kafka,
        topics: Mapping[str, int],
        *,
        per_second: int = 3000,
        seed: int = 1,
        when: Callable[[int], int] | None = None,
        **settings: Any,
    ) -> None:
        self._partitions = [(topic, number) for topic, count in topics.items() for number in range(count)]
        self._per_second = per_second
        self._random = random.Random(seed)  # noqa: S311 - sizes of test records
        self._when = when
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._producer = Producer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 3,
                "message.timeout.ms": 120_000,
                **QUIET,
                **settings,
            }
        )
        self.acked: dict[tuple[str, int], dict[int, bytes]] = {where: {} for where in self._partitions}
        self.untold: dict[tuple[str, int], set[bytes]] = {where: set() for where in self._partitions}
        self.failed: list[str] = []
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait until all is acknowledged."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._thread.join(30)
        assert self._producer.flush(120) == 0
        assert self.failed == []

    def abandon(self) -> None:
        """Send no more, and forget what was not acknowledged: its cluster is gone."""
        self._stopping.set()
        self._thread.join(30)
        self._producer.purge()
        self._producer.flush(10)

    def check(self, topic: str, found: Mapping[int, Sequence[Record]]) -> None:
        """Every acknowledged record stands in `found` at the offset it was acknowledged with, and nothing else.

        One that was acknowledged without an offset, as a repeat, stands there once, wherever that is.
        """
        for number, records in found.items():
            acked, untold = self.acked[topic, number], self.untold[topic, number]
            there = {record.offset: record.value for record in records}
            placed = {at: value for at, value in there.items() if at not in acked and value in untold}
            assert sorted(value or b"" for value in placed.values()) == sorted(untold)
            assert there == acked | placed

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(0.02):
            due = int((time.monotonic() - began) * self._per_second)
            while self.sent < due and not self._stopping.is_set():
                self._send()
            self._producer.poll(0)

    def _send(self) -> None:
        number = self.sent
        topic, partition = self._random.choice(self._partitions)
        value = b"%d:" % number + b"x" * self._random.randrange(300)
        extra: dict[str, Any] = {} if self._when is None else {"timestamp": self._when(number)}
        try:
            self._producer.produce(
                topic, value, b"k%d" % (number % 50), partition, on_delivery=self._on_delivery, **extra
            )
            self.sent += 1
        except BufferError:
            self._producer.poll(0.05)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(str(error))
            return
        where = (str(message.topic()), int(message.partition() or 0))
        offset, value = message.offset(), bytes(message.value() or b"")
        if offset is None:
            self.untold[where].add(value)
        else:
            self.acked[where][offset] = value


# -- daemons --------------------------------------------------------------------------------------------------------


class Daemon:
    """One `replicator run` as a process, with its flow file, state directory and log.

    Attributes:
        file: The flow file.
        log_file: What it printed, over all its starts.
    """

    def __init__(self, directory: Path, document: dict[str, Any], command: str = "run") -> None:
        directory.mkdir(parents=True)
        self._command = command
        self.directory = directory
        self.document = document
        self.file = directory / "flow.yaml"
        self.log_file = directory / "daemon.log"
        base = free_base_port(1)
        self._http, self.rpc = f"127.0.0.1:{base}", f"127.0.0.1:{base + 1}"
        self._process: subprocess.Popen[bytes] | None = None
        document["daemon"] = {"state_dir": "./state", "http": self._http, "rpc": self.rpc}
        self.write()

    @property
    def state_dir(self) -> Path:
        """Its state directory."""
        return self.directory / "state"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; it was started."""
        assert self._process is not None, "the daemon was not started"
        return self._process

    def write(self) -> None:
        """Write the flow file from `document` (JSON is YAML)."""
        self.file.write_text(json.dumps(self.document, indent=1))
        self.file.chmod(0o600)

    def start(self, *, ready_seconds: float = 120.0) -> Self:
        """Start it; with `ready_seconds` wait until every topic was looked at once, 0 waits for nothing."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(REPLICATOR), self._command, str(self.file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        if ready_seconds:
            wait_until("the daemon is ready", self._is_ready, ready_seconds)
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log_tail()}"
        if self._command == "coordinator":
            return self.cli("lease", "list").returncode == 0
        return bool(self.status()["ready"])

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def stop(self, seconds: float = 60.0) -> int:
        """End it by SIGTERM; return its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def freeze(self) -> None:
        """Send SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def reload(self) -> None:
        """Send SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def log_tail(self) -> str:
        """Return the end of its log."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    # -- asking -----------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return /status."""
        return dict(json.loads(self._get("/status")))

    @property
    def flow_name(self) -> str:
        """Name of its first flow."""
        return str(next(iter(self.document["flows"])))

    def flow(self) -> dict[str, Any]:
        """Return the status of its first flow."""
        return next(flow for flow in self.status()["flows"] if flow["flow"] == self.flow_name)

    def mirror(self, topic: str) -> dict[str, Any]:
        """Return one mirror's status, empty while there is none."""
        return next((mirror for mirror in self.flow()["mirrors"] if mirror["topic"] == topic), {})

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        lines = [line for line in self._get("/metrics").splitlines() if not line.startswith("#")]
        values = [line.rsplit(" ", 1)[1] for line in lines if line.split("{")[0].split(" ")[0] == name]
        assert values, f"no metric {name}"
        return sum(float(value) for value in values)

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self._http}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def wait_state(self, topic: str, state: str, reason: str | None = None, seconds: float = 120.0) -> dict[str, Any]:
        """Wait until a mirror is in a state, for a reason if given; return the mirror."""
        seen: dict[str, Any] = {}

        def there() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}"
            seen.clear()
            seen.update(self.mirror(topic))
            return dict(seen) if seen.get("state") == state and reason in {None, seen.get("reason")} else None

        try:
            return wait_until(f"{topic} is {state} {reason or ''}", there, seconds) or {}
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen}") from None

    def cli(self, *args: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line against this daemon."""
        return subprocess.run(
            [str(REPLICATOR), *args, "--address", self.rpc],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )


class Lab:
    """Makes daemons for one test, and ends them after it, with their logs shown where the test failed.

    Attributes:
        flow: Name of the test's flow: a flow of another test on the same clusters is none of its business.
    """

    def __init__(self, directory: Path) -> None:
        self.flow = f"copy-{uuid.uuid4().hex[:8]}"
        self._directory = directory
        self.daemons: list[Daemon] = []

    def daemon(
        self,
        source: Kafka | Mapping[str, Any],
        target: Kafka | Mapping[str, Any],
        *include: str,
        clients: Mapping[str, str] | None = None,
        **flow: Any,
    ) -> Daemon:
        """Make a daemon of one flow; it is not started.

        Args:
            source: A cluster, or its section of the flow file.
            target: A cluster, or its section of the flow file.
            include: Topic patterns.
            clients: The `client` section of the target.
            flow: More keys of the flow.
        """
        document = {
            "version": 1,
            # Short, so that a killed holder's claim is soon free.
            "coordinator": {"lease_ttl": "3s", "lease_margin": "1s"},
            "clusters": {
                "east": _section(source),
                "west": {"client": dict(clients or CLIENTS)} | _section(target),
            },
            "flows": {self.flow: {"from": "east", "to": "west", "topics": {"include": list(include)}, **flow}},
        }
        made = Daemon(self._directory / f"daemon-{len(self.daemons) + 1}", document)
        self.daemons.append(made)
        return made

    def coordinator(self, daemon: Daemon) -> Daemon:
        """Make a coordinator for daemons like this one; it is not started."""
        document = json.loads(json.dumps(daemon.document))
        made = Daemon(self._directory / f"coordinator-{len(self.daemons) + 1}", document, "coordinator")
        self.daemons.append(made)
        return made

    def close(self) -> None:
        """Kill what runs; print the logs (pytest shows them where a test failed)."""
        for daemon in self.daemons:
            daemon.kill()
            print(f"--- {daemon.log_file}\n{daemon.log_tail()}")  # noqa: T201 - captured by pytest


def _section(cluster: Kafka | Mapping[str, Any]) -> dict[str, Any]:
    return dict(cluster) if isinstance(cluster, Mapping) else {"bootstrap": cluster.bootstrap}
