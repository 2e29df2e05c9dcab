"""Topics that an earlier version opened without the cleanup policy of their source, whoever still tells of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.admin.topic_values import ConfigValue, TopicConfig
from replicator.engine.state import records as state
from replicator.engine.state.journal import put_switches
from replicator.engine.switch.steps import settings as opening
from replicator.engine.switch.steps.settings import OpenedSettingsCheck
from replicator.engine.topics.mirror import Mirror
from replicator.errors import ConnectionFailed
from replicator.model.names import STATE_TOPIC
from replicator.model.switch.journal import Switches
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


UID, BACK = "forth", "back"
SEEDED = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
SOURCE_ID, TARGET_ID = bytes([1] * 16), bytes([2] * 16)


class Side:
    """One cluster with one topic, as it is described and configured."""

    def __init__(self, settings: Mapping[str, str], topic_id: bytes, *, has_state: bool = True) -> None:
        self.settings = dict(settings)
        self.topics = {"t": SimpleNamespace(topic_id=topic_id)}
        self.has_state = has_state
        self.answers = True

    async def refresh(self, _: object) -> None:
        """Nothing moves."""
        if not self.answers:
            raise ConnectionFailed("no answer", cluster="east")

    async def describe(self, name: str) -> object | None:
        """Return the state topic, if there is one."""
        assert name == STATE_TOPIC
        return SimpleNamespace() if self.has_state else None

    async def describe_configs(self, names: Iterable[str]) -> dict[str, TopicConfig]:
        """Return the settings."""
        effective = {name: ConfigValue(value, "topic") for name, value in self.settings.items()}
        return {name: TopicConfig(name, dict(self.settings), effective) for name in names}

    async def alter_configs(self, _: object, to_set: Mapping[str, str], remove: Iterable[str] = ()) -> None:
        """Set some."""
        assert not list(remove)
        self.settings |= to_set


class World:
    """An opened mirror, the old source, and what is recorded on either side."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, source: Side, *, tells_policy: bool = False) -> None:
        self.source = source
        self.target = Side(SEEDED, TARGET_ID)
        self.theirs: dict[bytes, bytes] = {}
        mirror = pb.MirrorRecord(
            source_topic="t",
            target_topic="t",
            source_topic_id=SOURCE_ID,
            target_topic_id=TARGET_ID,
            managed=SEEDED,
            tells_policy=tells_policy,
        )
        writer = pb.WriterRecord(producer_id=1, role=pb.WRITER_ROLE_PROMOTED, epoch=1)
        changes = [
            state.put(state.mirror_key(UID, "t"), mirror),
            state.put(state.writer_key(UID), writer),
            *put_switches(UID, Switches()),
        ]
        log = SimpleNamespace(records=dict(changes))
        monkeypatch.setattr(opening, "_AGAIN_SECONDS", 0.0)
        monkeypatch.setattr(opening, "StateLog", lambda _: SimpleNamespace(records=self.theirs, read_to_end=self._read))
        self.opened = OpenedSettingsCheck(
            UID, cast("Any", source), cast("Any", (source, self.target)), cast("Any", log)
        )
        self.log = log

    async def _read(self) -> None:
        """Nothing comes."""

    def way_back(self, managed: Mapping[str, str]) -> None:
        """Let the other flow have given the old source's topic these settings."""
        mirror = pb.MirrorRecord(source_topic="t", target_topic="t", managed=managed)
        key, raw = state.put(state.mirror_key(BACK, "t"), mirror)
        assert raw is not None
        self.theirs[key] = raw


async def shown(world: World) -> str:
    """Look, and return what is shown."""
    await world.opened.check()
    return world.opened.problem or ""


async def test_an_old_source_that_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its policy is set."""
    policy = {"cleanup.policy": "compact", "retention.ms": "1000", "retention.bytes": "-1"}
    world = World(monkeypatch, Side(policy, SOURCE_ID))
    await world.opened.check()
    assert world.target.settings["cleanup.policy"] == "compact"
    assert world.opened.problem is None


@pytest.mark.parametrize("has_state", [False, True])
async def test_a_topic_that_keeps_everything_by_right(monkeypatch: pytest.MonkeyPatch, *, has_state: bool) -> None:
    """The old source's settings are its own: no flow has given it any."""
    world = World(monkeypatch, Side(SEEDED, SOURCE_ID, has_state=has_state))
    world.way_back({"cleanup.policy": "delete", "retention.ms": "1000"})
    await world.opened.check()
    assert world.opened.problem is None


@pytest.mark.parametrize("decided", [{"cleanup.policy": "compact"}, {"retention.bytes": "9223372036854775807"}])
async def test_an_old_source_that_a_way_back_has_overwritten(
    monkeypatch: pytest.MonkeyPatch, decided: dict[str, str]
) -> None:
    """Nothing tells any more: nothing is guessed, and what to do is said until it is done."""
    world = World(monkeypatch, Side(SEEDED, SOURCE_ID))
    world.way_back(SEEDED)
    told = await shown(world)
    assert world.target.settings == SEEDED
    assert "kafka-configs --alter --topic t --add-config cleanup.policy=[compact]" in told
    assert "kafka-configs --alter --topic t --add-config retention.bytes=[9223372036854775807]" in told
    assert await shown(world) == told
    world.target.settings |= decided
    assert await shown(world) == ""


async def test_a_damaged_record_of_a_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had given is not known; it ends nothing."""
    world = World(monkeypatch, Side(SEEDED, SOURCE_ID))
    world.theirs[state.mirror_key(BACK, "t")] = b"\xff"
    assert "t should be compacted" in await shown(world)


async def test_an_old_source_that_is_another_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says is about that one."""
    world = World(monkeypatch, Side(SEEDED | {"cleanup.policy": "compact"}, bytes([9] * 16)))
    await world.opened.check()
    assert world.target.settings == SEEDED
    assert "t should be compacted" in (world.opened.problem or "")


async def test_a_mirror_of_this_version_tells_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held back is recorded with every look at settings: none means that it keeps everything by right."""
    world = World(monkeypatch, Side(SEEDED, SOURCE_ID), tells_policy=True)
    world.way_back(SEEDED)
    await world.opened.check()
    assert world.opened.problem is None
    mirror = Mirror("t", "t")
    assert not mirror.as_record((UID, "f"), None).tells_policy
    mirror.names_policy = True
    assert mirror.as_record((UID, "f"), None).tells_policy


async def test_an_old_source_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again."""
    world = World(monkeypatch, Side(SEEDED, SOURCE_ID))
    world.way_back(SEEDED)
    told = []
    for answers in (False, True):
        world.source.answers = answers
        await world.opened.check()
        told.append(world.opened.problem is not None)
    assert told == [False, True]
