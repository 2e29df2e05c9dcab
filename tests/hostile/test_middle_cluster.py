"""Lies about a whole cluster, told to a daemon that copies and to one that starts: it waits, says why, and goes on."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from kio.schema.errors import ErrorCode
from kio.schema.types import BrokerId, GroupId, ProducerId, TopicName
from kio.static.primitive import i8, i16, i32, i64

from replicator.admin.client_config import ANSWER_BYTES_MAX
from replicator.admin.topics import TopicAdmin
from replicator.core.topics.ownership import OwnedTopic, created
from replicator.devkit import Cluster, free_base_port
from replicator.devkit.config import PORTS_PER_BROKER
from replicator.errors import KafkaError
from replicator.model.security import ClusterSpec
from tests.hostile.middle import (
    ALTER_CONFIGS,
    API_VERSIONS,
    CREATE_TOPICS,
    DELETE_TOPICS,
    DESCRIBE_ACLS,
    DESCRIBE_CONFIGS,
    DESCRIBE_GROUPS,
    EPOCH_ENDS,
    FETCH,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    LIST_GROUPS,
    LIST_OFFSETS,
    METADATA,
    OFFSET_FETCH,
    PRODUCE,
    Change,
    bugs,
    changed,
)
from tests.integration.harness import (
    CLIENTS,
    QUIET,
    Daemon,
    Kafka,
    Lab,
    admin,
    bounds_of,
    create,
    read_many,
    wait_until,
)
from tests.integration.proxy import FaultProxy

pytestmark = [pytest.mark.kafka, pytest.mark.long]

HUGE = 2**63 - 1
OWN = "replicator.state"
TEXT = "\x1b[2Jno\r\n" * 7_000_000
"""About 60 MB, as far as a field takes it; a terminal would act on it."""
SHORT_TEXT_CHARS = 32_000


def told_as(**fields: Any) -> Change:
    """Return the lie that sets fields."""
    return lambda told: replace(told, **fields)


def each(name: str, change: Change) -> Change:
    """Return the lie about each part of an answer that has such parts."""
    return lambda told: replace(told, **{name: tuple(map(change, getattr(told, name)))})


def topics_with(change: Change, *, own: bool = False) -> Change:
    """Return the lie about each topic of metadata: the flow's own records, or all but those."""
    return each("topics", lambda one: change(one) if (one.name == OWN) is own else one)


def text(told: Any) -> Any:
    """Give an answer, or its parts, an error with a text that is as long as the field takes."""
    kept = TEXT if told.__flexible__ else TEXT[:SHORT_TEXT_CHARS]
    words = {"error_message": kept} if hasattr(told, "error_message") else {}
    return replace(told, error_code=ErrorCode.policy_violation, **words)


def configs_as(**fields: Any) -> Change:
    """Return the lie about each setting."""
    return each("results", each("configs", told_as(**fields)))


def coordinators(change: Change) -> Change:
    """Return the lie about each coordinator."""
    return lambda told: each("coordinators", change)(told) if hasattr(told, "coordinators") else change(told)


def commits(change: Change) -> Change:
    """Return the lie about each commit."""
    of_topics = each("topics", each("partitions", change))
    return lambda told: each("groups", of_topics)(told) if hasattr(told, "groups") else of_topics(told)


def versions_as(**fields: int) -> Change:
    """Return the lie about each range of versions."""
    return each("api_keys", told_as(**{name: i16(number) for name, number in fields.items()}))


def without(*keys: int) -> Change:
    """Return the lie that some requests are not offered."""
    return lambda told: replace(told, api_keys=tuple(one for one in told.api_keys if int(one.api_key) not in keys))


def ids_change(*, own: bool = False) -> Change:
    """Return the lie that topics have another id in each answer."""

    def lie(told: Any) -> Any:
        return topics_with(told_as(topic_id=uuid.uuid4()), own=own)(told)

    return lie


def brokers_twice(told: Any) -> Any:
    """Tell of each broker at another address as well, behind the true one."""
    return replace(told, brokers=(*told.brokers, *(replace(one, port=i32(1)) for one in told.brokers)))


def many_groups(told: Any) -> Any:
    """Tell of groups that there are not, some of whose names act on a terminal."""
    if not told.groups:
        return told
    names = [f"{number}-\x1b[2J\u202e" + "x" * 200 for number in range(20_000)]
    return replace(told, groups=(*told.groups, *(replace(told.groups[0], group_id=GroupId(name)) for name in names)))


def epoch_back(told: Any) -> Any:
    """Tell an epoch that was given before."""
    return replace(told, producer_epoch=i16(max(0, int(told.producer_epoch) - 3)))


IDS_CHANGE = "topics whose ids change"
LIES: dict[str, tuple[int, Change]] = {
    "no brokers": (METADATA, told_as(brokers=())),
    "another cluster": (METADATA, told_as(cluster_id="somebody-elses-cluster")),
    "no cluster id": (METADATA, told_as(cluster_id=None)),
    "a cluster id that acts on a terminal": (METADATA, told_as(cluster_id="x\x1b[2J" * 8_000)),
    "no controller": (METADATA, told_as(controller_id=BrokerId(-1))),
    "a controller that is not there": (METADATA, told_as(controller_id=BrokerId(77))),
    "ports 0": (METADATA, each("brokers", told_as(port=i32(0)))),
    "ports where nobody listens": (METADATA, each("brokers", told_as(port=i32(1)))),
    "hosts of 60 kB": (METADATA, each("brokers", told_as(host="h" * 60_000))),
    "a broker at two addresses": (METADATA, brokers_twice),
    "a negative broker": (METADATA, each("brokers", told_as(node_id=BrokerId(-3)))),
    IDS_CHANGE: (METADATA, ids_change()),
    "own records whose id changes": (METADATA, ids_change(own=True)),
    "own records without partitions": (METADATA, topics_with(told_as(partitions=()), own=True)),
    "own records in a strange partition": (
        METADATA,
        topics_with(each("partitions", told_as(partition_index=i32(7))), own=True),
    ),
    "no topics": (METADATA, told_as(topics=())),
    "topics twice": (METADATA, lambda told: replace(told, topics=told.topics * 2)),
    "topics without partitions": (METADATA, topics_with(told_as(partitions=()))),
    "negative partitions": (METADATA, topics_with(each("partitions", told_as(partition_index=i32(-1))))),
    "partitions twice": (METADATA, topics_with(lambda one: replace(one, partitions=one.partitions * 2))),
    "partitions that are far away": (
        METADATA,
        topics_with(each("partitions", told_as(partition_index=i32(2**31 - 1)))),
    ),
    "topics that may not be seen": (METADATA, topics_with(told_as(error_code=ErrorCode.topic_authorization_failed))),
    "topics that are gone": (METADATA, topics_with(told_as(error_code=ErrorCode.unknown_topic_or_partition))),
    "own records that are gone": (
        METADATA,
        topics_with(told_as(error_code=ErrorCode.unknown_topic_or_partition), own=True),
    ),
    "no requests": (API_VERSIONS, told_as(api_keys=())),
    "every version there could be": (API_VERSIONS, versions_as(min_version=0, max_version=32_767)),
    "no Fetch": (API_VERSIONS, without(FETCH)),
    "no Produce": (API_VERSIONS, without(PRODUCE)),
    "only what the copy needs": (API_VERSIONS, without(DESCRIBE_CONFIGS, OFFSET_FETCH, LIST_GROUPS, FIND_COORDINATOR)),
    "ranges upside down": (API_VERSIONS, versions_as(min_version=9, max_version=0)),
    "negative versions": (API_VERSIONS, versions_as(min_version=-9, max_version=-1)),
    "versions that fail": (API_VERSIONS, told_as(error_code=ErrorCode.unknown_server_error)),
    "no settings": (DESCRIBE_CONFIGS, each("results", told_as(configs=()))),
    "nothing about settings": (DESCRIBE_CONFIGS, told_as(results=())),
    "settings that are no numbers": (DESCRIBE_CONFIGS, configs_as(value="banana")),
    "settings that are too large": (DESCRIBE_CONFIGS, configs_as(value="9" * 40)),
    "negative settings": (DESCRIBE_CONFIGS, configs_as(value="-7")),
    "settings without a value": (DESCRIBE_CONFIGS, configs_as(value=None)),
    "settings without a name": (DESCRIBE_CONFIGS, configs_as(name="")),
    "settings of a strange source": (DESCRIBE_CONFIGS, configs_as(config_source=i8(99))),
    "settings of 32 kB that act on a terminal": (DESCRIBE_CONFIGS, configs_as(value=TEXT[:SHORT_TEXT_CHARS])),
    "settings that are refused at length": (DESCRIBE_CONFIGS, each("results", text)),
    "settings of another": (DESCRIBE_CONFIGS, each("results", told_as(resource_name="other"))),
    "coordinators that are not there": (FIND_COORDINATOR, coordinators(told_as(node_id=BrokerId(77)))),
    "coordinators that are none": (FIND_COORDINATOR, coordinators(told_as(node_id=BrokerId(-1)))),
    "coordinators at port 1": (FIND_COORDINATOR, coordinators(told_as(port=i32(1)))),
    "coordinators at no host": (FIND_COORDINATOR, coordinators(told_as(host="\x1b[2J" * 8_000, port=i32(-5)))),
    "coordinators that are still to come": (
        FIND_COORDINATOR,
        coordinators(told_as(error_code=ErrorCode.coordinator_not_available)),
    ),
    "coordinators that are others": (FIND_COORDINATOR, coordinators(told_as(error_code=ErrorCode.not_coordinator))),
    "coordinators of nothing": (
        FIND_COORDINATOR,
        coordinators(lambda one: replace(one, key="other") if hasattr(one, "key") else one),
    ),
    "coordinators that are refused at length": (FIND_COORDINATOR, coordinators(text)),
    "no producer id": (INIT_PRODUCER_ID, told_as(producer_id=ProducerId(-1))),
    "no producer epoch": (INIT_PRODUCER_ID, told_as(producer_epoch=i16(-1))),
    "a producer epoch that goes back": (INIT_PRODUCER_ID, epoch_back),
    "the last producer epoch": (INIT_PRODUCER_ID, told_as(producer_epoch=i16(32_767))),
    "a producer id that is everybody's": (INIT_PRODUCER_ID, told_as(producer_id=ProducerId(0))),
    "producer ids of another coordinator": (INIT_PRODUCER_ID, told_as(error_code=ErrorCode.not_coordinator)),
    "producer ids that are fenced": (INIT_PRODUCER_ID, told_as(error_code=ErrorCode.producer_fenced)),
    "commits beyond the end": (OFFSET_FETCH, commits(told_as(committed_offset=i64(10**12)))),
    "the highest commits there are": (OFFSET_FETCH, commits(told_as(committed_offset=i64(HUGE)))),
    "negative commits": (OFFSET_FETCH, commits(told_as(committed_offset=i64(-7)))),
    "commits with words of a megabyte": (OFFSET_FETCH, commits(told_as(metadata="\x1b[2J" * 250_000))),
    "commits of partitions that are not there": (OFFSET_FETCH, commits(told_as(partition_index=i32(2**31 - 1)))),
    "commits of epochs to come": (OFFSET_FETCH, commits(told_as(committed_leader_epoch=i32(2**31 - 1)))),
    "commits that fail": (OFFSET_FETCH, commits(told_as(error_code=ErrorCode.unknown_server_error))),
    "no commits": (OFFSET_FETCH, told_as(groups=())),
    "twenty thousand groups": (LIST_GROUPS, many_groups),
    "groups of a strange kind": (LIST_GROUPS, each("groups", told_as(group_type="\x1b[2J" * 8_000))),
    "groups in a strange state": (LIST_GROUPS, each("groups", told_as(group_state="\x1b[2J" * 8_000))),
    "no groups": (LIST_GROUPS, told_as(groups=())),
    "groups that fail": (LIST_GROUPS, told_as(error_code=ErrorCode.unknown_server_error)),
    "groups in a state that acts on a terminal": (
        DESCRIBE_GROUPS,
        each("groups", told_as(group_state="\x1b[2J" * 8_000)),
    ),
    "ends that are far": (LIST_OFFSETS, each("topics", each("partitions", told_as(offset=i64(10**15))))),
    "no ends": (LIST_OFFSETS, told_as(topics=())),
    "epochs of nothing": (EPOCH_ENDS, told_as(topics=())),
    "new topics that are refused at length": (CREATE_TOPICS, each("topics", text)),
    "new topics that are others": (CREATE_TOPICS, each("topics", told_as(name=TopicName("other")))),
    "nothing about new topics": (CREATE_TOPICS, told_as(topics=())),
    "settings that are refused when set": (ALTER_CONFIGS, each("responses", text)),
    "nothing about settings that are set": (ALTER_CONFIGS, told_as(responses=())),
    "rules that are refused at length": (DESCRIBE_ACLS, text),
}
LOCALHOST = "127.0.0.1"
BEFORE, CHANGED = "1234567", "7654321"
PARTITIONS = 2
_RATE_MAX = 60.0
"""Answers a second to one flow: one without a pause between its questions gets thousands."""
_LOG_LINES_PER_SECOND_MAX = 5.0
_TEXT_CHARS_MAX = 3_000
_STACKS = frozenset({"exception", "stack"})
"""What an error of ours, and a held up event loop, are logged with: of many lines."""


class Mouth:
    """A proxy in front of a cluster of one broker, which tells one lie about it, and is all that its flow sees.

    Attributes:
        lying: Whether it lies now.
        told: Answers that were changed.
        seen: Answers that passed while it lied.
    """

    def __init__(self, port: int, upstream_port: int, lie: tuple[int, Change] | None) -> None:
        self._port = port
        self._lie = lie
        self.bootstrap = f"{LOCALHOST}:{port}"
        self.lying = False
        self.told: Counter[int] = Counter()
        self.seen: Counter[int] = Counter()
        self.proxy = FaultProxy(port, upstream_port)
        self.proxy.spoil = self._speak

    def _speak(self, api: int, version: int, frame: bytes) -> bytes:
        if api in {METADATA, FIND_COORDINATOR}:
            frame = changed(api, version, frame, self._here)
        self.seen[api] += self.lying
        if not self.lying or self._lie is None or api != self._lie[0]:
            return frame
        arrives = changed(api, version, frame, self._lie[1])
        self.told[api] += arrives != frame
        return arrives

    def _here(self, told: Any) -> Any:
        """Let every broker be here."""
        at = told_as(host=LOCALHOST, port=i32(self._port))
        return each("brokers", at)(told) if hasattr(told, "brokers") else coordinators(at)(told)


@dataclass(slots=True)
class Scene:
    """One daemon with a flow for each lie, each past a mouth of its own, and one that is told the truth.

    Attributes:
        source: Where records are written, past all mouths.
        target: Where they are read, past all mouths.
        mouths: By the name of the lie.
        topics: The same.
        flows: The same.
        written: Rounds of records.
    """

    source: Kafka
    target: Kafka
    daemon: Daemon
    mouths: dict[str, Mouth]
    topics: dict[str, str]
    flows: dict[str, str]
    written: int = 0

    def lie(self, *, lying: bool) -> None:
        """Begin, or end, all lies, each with new connections."""
        for mouth in self.mouths.values():
            mouth.lying = lying
            mouth.proxy.close_connections()

    def write(self) -> None:
        """Write one more record to each partition, and commit behind it."""
        producer = Producer({"bootstrap.servers": self.source.bootstrap, "linger.ms": 5, **QUIET})
        for topic in self.topics.values():
            for number in range(PARTITIONS):
                producer.produce(topic, b"%d of %d" % (self.written, number), partition=number)
        assert producer.flush(60) == 0
        self.written += 1
        for topic in self.topics.values():
            wait_until("commits stand", lambda topic=topic: self._commit(topic))  # type: ignore[misc]

    def change(self) -> None:
        """Change a setting of each topic of the source, and make one more beside it."""
        for topic in self.topics.values():
            entry = ConfigEntry("segment.ms", CHANGED, incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
            admin(self.source).incremental_alter_configs([resource])[resource].result(30)
        new = [NewTopic(f"{topic}.new", 1, 1) for topic in self.topics.values()]
        for done in admin(self.source).create_topics(new).values():
            done.result(30)

    def not_made(self) -> list[str]:
        """Return the lies under which the new topic is not on the target."""
        there = admin(self.target).list_topics(timeout=30).topics
        return [name for name, topic in self.topics.items() if f"{topic}.new" not in there]

    def _commit(self, topic: str) -> bool:
        """Commit behind what is written; return whether that was done: a coordinator may still be loading."""
        wanted = ConsumerGroupTopicPartitions(f"{topic}-group", [Position(topic, 0, self.written)])
        (done,) = admin(self.source).alter_consumer_group_offsets([wanted]).values()
        return not any(one.error for one in done.result(30).topic_partitions)

    def committed(self) -> dict[str, int | None]:
        """Return what each group has committed on the target, None for nothing."""
        asked = {name: ConsumerGroupTopicPartitions(f"{topic}-group") for name, topic in self.topics.items()}
        told = {name: admin(self.target).list_consumer_group_offsets([one]) for name, one in asked.items()}
        found = {name: next(iter(futures.values())).result(30).topic_partitions for name, futures in told.items()}
        return {name: next((int(one.offset) for one in places), None) for name, places in found.items()}

    def all_groups_follow(self) -> bool:
        """Return whether every group stands on the target where it stands on the source."""
        return set(self.committed().values()) == {self.written}

    def settings(self) -> dict[str, dict[str, str]]:
        """Return the settings of each topic of the target that are its own."""
        resources = {ConfigResource(ResourceType.TOPIC, topic): name for name, topic in self.topics.items()}
        told = admin(self.target).describe_configs(list(resources))
        return {
            name: {key: one.value for key, one in told[resource].result(30).items() if not one.is_default}
            for resource, name in resources.items()
        }

    def lag(self) -> dict[str, int]:
        """Return how many records of each topic are not on the target."""
        here, there = (bounds_of(one, self.topics.values()) for one in (self.source, self.target))
        return {
            name: sum(end - there.get(topic, {}).get(number, (0, 0))[1] for number, (_, end) in here[topic].items())
            for name, topic in self.topics.items()
        }

    def behind(self) -> list[str]:
        """Return the lies whose topics are not copied."""
        return [name for name, lag in self.lag().items() if lag]

    def peak_kib(self) -> int:
        """Return how much memory the daemon has held."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    def reasons(self) -> dict[str, list[str]]:
        """Return all that status says of why each flow does not copy."""
        by_name = {flow["flow"]: flow for flow in self.daemon.status()["flows"]}
        return {name: sorted(set(_reasons(by_name[flow]))) for name, flow in self.flows.items()}

    def log_lines(self) -> Counter[str]:
        """Return how many lines the log has of each lie's flow, and that nothing in them acts on a terminal."""
        lines: Counter[str] = Counter()
        of_flow = {flow: name for name, flow in self.flows.items()}
        for line in self.daemon.log_file.read_text().splitlines():
            told: dict[str, Any] = json.loads(line)
            words = [value for key, value in told.items() if isinstance(value, str) and key not in _STACKS]
            assert all(one.isprintable() and len(one) < _TEXT_CHARS_MAX for one in words), line
            lines[of_flow.get(told.get("flow", ""), "")] += 1
        return lines


def _reasons(flow: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words of status that say why a flow, or a part of it, stands still."""
    yield from (str(flow[key]) for key in ("reason", "detail") if flow.get(key) not in {None, "", "starting"})
    yield from (one["trouble"] for one in flow["clusters"] if one.get("trouble"))
    for mirror in flow["mirrors"]:
        for part in (mirror, *mirror["partitions"]):
            yield from (str(part[key]) for key in ("detail", "reason") if part.get(key))


Stage = Callable[[str, Collection[str]], Scene]


@pytest.fixture
def stage(east: Cluster, west: Cluster, lab: Lab, topic_name: str) -> Iterator[Stage]:
    """Return what makes a scene: the side that is lied about, and the lies."""
    with contextlib.ExitStack() as opened:

        def make(side: str, names: Collection[str]) -> Scene:
            source, target = (east, west) if side == "source" else (west, east)
            lies = {name: LIES[name] for name in names} | {HONEST: None}
            base = free_base_port(-(-len(lies) // PORTS_PER_BROKER))
            mouths = {
                name: Mouth(base + at, east.config.ports(1).direct, lie) for at, (name, lie) in enumerate(lies.items())
            }
            for mouth in mouths.values():
                opened.enter_context(mouth.proxy)
            topics = {name: f"{topic_name[-20:]}-{at}" for at, name in enumerate(lies)}
            flows = {name: f"{lab.flow}-{at}" for at, name in enumerate(lies)}
            daemon = lab.daemon(east, west)
            document = daemon.document
            other = target if side == "source" else source
            clients = {"client": dict(CLIENTS)}
            document["clusters"] = {"other": {"bootstrap": other.bootstrap} | clients}
            document["flows"] = {}
            for at, (name, mouth) in enumerate(mouths.items()):
                document["clusters"][f"mouth-{at}"] = {"bootstrap": mouth.bootstrap} | clients
                ends = (f"mouth-{at}", "other") if side == "source" else ("other", f"mouth-{at}")
                document["flows"][flows[name]] = {
                    "from": ends[0],
                    "to": ends[1],
                    "topics": {"include": [topics[name], f"{topics[name]}.new"]},
                    "replication_factor": 1,
                    "groups": {"include": [f"{topics[name]}-group"], "sync_every": "1s"},
                    "acls": {"mirror": "rules" in name},
                }
            daemon.write()
            new = [NewTopic(topic, PARTITIONS, 1, config={"segment.ms": BEFORE}) for topic in topics.values()]
            for done in admin(source).create_topics(new).values():
                done.result(30)
            return Scene(source, target, daemon, mouths, topics, flows)

        yield make


HONEST = "the truth"
BY_KIND: dict[str, frozenset[int]] = {
    "metadata": frozenset({METADATA}),
    "versions and settings": frozenset({API_VERSIONS, DESCRIBE_CONFIGS}),
    "coordinators and groups": frozenset({FIND_COORDINATOR, OFFSET_FETCH, LIST_GROUPS, DESCRIBE_GROUPS}),
    "all others": frozenset({INIT_PRODUCER_ID, LIST_OFFSETS, EPOCH_ENDS, CREATE_TOPICS, ALTER_CONFIGS, DESCRIBE_ACLS}),
}


_GROWTH_KIB_MAX = 400 << 10
"""How much more a daemon that is lied to takes than the same one that is not."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", BY_KIND)
@pytest.mark.parametrize("side", ["source", "target"])
def test_lies_about_a_whole_cluster_are_waited_out(stage: Stage, side: str, kind: str) -> None:
    """Each to a flow of its own, told to it while it copies and when it starts; then the truth is enough to go on."""
    names = [name for name, (api, _) in LIES.items() if api in BY_KIND[kind]]
    scene = stage(side, names)
    daemon = scene.daemon
    scene.write()
    daemon.start(ready_seconds=300)
    wait_until("all is copied", lambda: not scene.behind())
    wait_until("all groups follow", scene.all_groups_follow)
    settings, peak_kib = scene.settings(), scene.peak_kib()

    began, lines = time.monotonic(), scene.log_lines()
    scene.lie(lying=True)
    scene.write()
    wait_until("the honest one goes on", lambda: not scene.lag()[HONEST])
    scene.change()
    daemon.stop()
    daemon.start(ready_seconds=0)
    scene.write()
    wait_until("the honest one goes on after a start", lambda: not scene.lag()[HONEST])

    def silent() -> list[str]:
        reasons = scene.reasons()
        return [name for name in scene.behind() if not reasons[name]]

    with contextlib.suppress(AssertionError):
        wait_until("whoever does not copy says why", lambda: not silent(), 60, every=1.0)
    scene.write()
    wait_until("the honest one still goes on", lambda: not scene.lag()[HONEST])
    problems = [f"{name}: does not copy, and does not say why" for name in silent()]
    problems += _unbounded(scene, lines, time.monotonic() - began)
    problems += _wrong(scene, settings, frozenset(range(1, scene.written + 1)))
    grown_kib = scene.peak_kib() - peak_kib
    print(f"memory {peak_kib >> 10} MiB, and {grown_kib >> 10} more")  # noqa: T201

    scene.lie(lying=False)
    settings = {name: told | {"segment.ms": CHANGED} for name, told in settings.items()}
    with contextlib.suppress(AssertionError):
        wait_until("all is copied", lambda: not scene.behind(), 120)
        wait_until("all topics are made", lambda: not scene.not_made(), 60)
        wait_until("all settings follow", lambda: scene.settings() == settings, 60)
        wait_until("all groups follow", scene.all_groups_follow, 60)
    reasons = scene.reasons()
    problems += [f"{name}: not copied afterwards: {reasons[name]}" for name in scene.behind()]
    problems += [f"{name}: its new topic is not made: {reasons[name]}" for name in scene.not_made()]
    # A topic that was first met under an id that was a lie has stopped for good, and its group waits for it.
    waits = IDS_CHANGE if "source_recreated" in reasons.get(IDS_CHANGE, ()) else ""
    problems += _wrong(scene, settings, frozenset({scene.written}), but=waits)
    assert not problems, "\n".join(problems)
    assert daemon.process.poll() is None
    assert grown_kib < _GROWTH_KIB_MAX


def _unbounded(scene: Scene, lines: Counter[str], seconds: float) -> list[str]:
    """Return what each flow asked, logged and said too much of while it was lied to."""
    problems: list[str] = []
    behind, reasons, after = scene.behind(), scene.reasons(), scene.log_lines()
    for name, mouth in scene.mouths.items():
        asked, told = (sum(counted.values()) for counted in (mouth.seen, mouth.told))
        state = "behind" if name in behind else "copied"
        print(f"{name}: told {told}, {asked / seconds:.1f}/s, {state}; {[one[:250] for one in reasons[name]]}")  # noqa: T201
        strange = (one for one in reasons[name] if not one.isprintable() or len(one) > _TEXT_CHARS_MAX)
        problems += [f"{name}: {one[:500]!r}" for one in strange]
        if asked / seconds > _RATE_MAX:
            problems.append(f"{name}: asks too often: {mouth.seen}")
        if (after[name] - lines[name]) / seconds > _LOG_LINES_PER_SECOND_MAX:
            problems.append(f"{name}: {after[name] - lines[name]} log lines in {seconds:.0f} s")
    return problems


def _wrong(
    scene: Scene, settings: Mapping[str, Mapping[str, str]], commits: frozenset[int], *, but: str = ""
) -> list[str]:
    """Return what is wrong on the target: records, settings, or a group that stands at none of these commits.

    The group of the lie `but` may stand at any commit that there was.
    """
    there_were = frozenset(range(1, scene.written + 1))
    groups = [
        f"{name}: the group stands at {at}"
        for name, at in scene.committed().items()
        if at not in (there_were if name == but else commits)
    ]
    changed_ = [
        f"{name}: settings are {now}"
        for name, now in scene.settings().items()
        if now not in (settings[name], {**settings[name], "segment.ms": CHANGED})
    ]
    return groups + changed_ + _wrongly_copied(scene) + [one[-1_500:] for one in bugs(scene.daemon)]


def _wrongly_copied(scene: Scene) -> list[str]:
    """Return the lies under which a partition of the target is no beginning of the source's."""
    there, here = (read_many(one, scene.topics.values()) for one in (scene.source, scene.target))
    return [
        f"{name}: partition {number} was copied wrongly"
        for name, topic in scene.topics.items()
        for number, records in here[topic].items()
        if records != there[topic][number][: len(records)]
    ]


async def _create(admin_: TopicAdmin, owned: OwnedTopic) -> object:
    return await admin_.create_topic(f"{owned.name}.new", 1, 1, {})


WORDS: dict[str, tuple[int, Change, Callable[[TopicAdmin, OwnedTopic], Awaitable[object]]]] = {
    "CreateTopics": (CREATE_TOPICS, each("topics", text), _create),
    "DeleteTopics": (DELETE_TOPICS, each("responses", text), lambda asked, owned: asked.delete_topic(owned)),
    "IncrementalAlterConfigs": (
        ALTER_CONFIGS,
        each("responses", text),
        lambda asked, owned: asked.alter_configs(owned, {"segment.ms": CHANGED}),
    ),
    "DescribeConfigs": (
        DESCRIBE_CONFIGS,
        each("results", text),
        lambda asked, owned: asked.describe_configs([owned.name]),
    ),
    "DescribeAcls": (DESCRIBE_ACLS, text, lambda asked, _: asked.acls.rules()),
}


@pytest.mark.parametrize("chars", [100, len(TEXT), ANSWER_BYTES_MAX - 10_000])
@pytest.mark.parametrize("api", WORDS)
async def test_a_refusal_of_any_length_is_told_in_a_few_words(
    east: Cluster, topic_name: str, monkeypatch: pytest.MonkeyPatch, api: str, chars: int
) -> None:
    """60 MB ended the process, and what is just taken does not: librdkafka copies them onto a thread's stack."""
    kind, lie, ask = WORDS[api]
    monkeypatch.setattr(sys.modules[__name__], "TEXT", TEXT[:chars])
    create(east, topic_name)
    port = free_base_port(1)
    mouth = Mouth(port, east.config.ports(1).direct, (kind, lie))
    asked = TopicAdmin(ClusterSpec("east", ((LOCALHOST, port),), request_timeout_seconds=30.0))
    with mouth.proxy:
        owned = created(topic_name, await asked.topic_id(topic_name) or b"")
        mouth.lying = True
        with pytest.raises(KafkaError) as caught:
            await ask(asked, owned)
        await asked.close()
    assert mouth.told[kind]
    assert caught.value.with_next_step().isprintable()
    assert len(caught.value.with_next_step()) < _TEXT_CHARS_MAX
