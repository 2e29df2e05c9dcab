"""Lies about a whole cluster, told to a daemon that copies and to one that starts: it waits, says why, and goes on."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    NewTopic,
)

from replicator.admin.client_config import ANSWER_BYTES_MAX
from replicator.admin.topics import TopicAdmin
from replicator.core.topics.ownership import OwnedTopic, created
from replicator.devkit import Cluster, free_base_port
from replicator.devkit.brokers.config import PORTS_PER_BROKER
from replicator.errors import KafkaError
from replicator.model.security import ClusterSpec
from tests.hostile.cluster_lies import IDS_CHANGE, LIES, TEXT, each, text
from tests.hostile.middle import (
    ALTER_CONFIGS,
    API_VERSIONS,
    CREATE_TOPICS,
    DELETE_TOPICS,
    DESCRIBE_ACLS,
    DESCRIBE_CONFIGS,
    DESCRIBE_GROUPS,
    EPOCH_ENDS,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    LIST_GROUPS,
    LIST_OFFSETS,
    METADATA,
    OFFSET_FETCH,
    Change,
    bugs,
)
from tests.hostile.middle_scene import (
    BEFORE,
    CHANGED,
    LOCALHOST,
    PARTITIONS,
    TEXT_CHARS_MAX,
    Mouth,
    Scene,
    Stage,
)
from tests.integration.harness import CLIENTS, Lab
from tests.integration.kafka_client import admin, create, read_many, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.long]

_RATE_MAX = 60.0
"""Answers a second to one flow: one without a pause between its questions gets thousands."""
_LOG_LINES_PER_SECOND_MAX = 5.0


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
        strange = (one for one in reasons[name] if not one.isprintable() or len(one) > TEXT_CHARS_MAX)
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
    assert len(caught.value.with_next_step()) < TEXT_CHARS_MAX
