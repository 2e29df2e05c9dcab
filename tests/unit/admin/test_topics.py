"""What a cluster tells right after a topic was created, which may be of the one before."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka.admin import ConfigEntry  # type: ignore[attr-defined]  # its __init__ has no __all__

from replicator.admin import topics
from replicator.admin.client import Connection
from replicator.admin.topic_values import ConfigValue
from replicator.admin.topics import TopicAdmin
from replicator.errors import KafkaError, NotOurs, ProtocolError
from replicator.model.security import ClusterSpec

OLD, NEW, NONE = bytes([1] * 16), bytes([2] * 16), bytes(16)


class Admin(TopicAdmin):
    """An administrator whose broker is told of changes late."""

    def __init__(self, *told: bytes | None, seconds: float = 30.0) -> None:
        super().__init__(ClusterSpec("west", (("w", 1),), request_timeout_seconds=seconds))
        self.told = list(told)

    async def topic_id(self, name: str) -> bytes | None:
        """Return what the broker tells next; the last for ever."""
        assert name == "t"
        return self.told.pop(0) if len(self.told) > 1 else self.told[0]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Creations succeed at once, and looks follow each other closely."""

    async def call(*_: object, **__: object) -> dict[str, object]:
        return {}

    monkeypatch.setattr(topics, "_POLL_SECONDS", (0.001, 0.001))
    monkeypatch.setattr(Connection, "call", call)


@pytest.mark.parametrize(
    ("told", "before", "found"),
    [
        ((OLD, OLD, None, NEW), {OLD}, NEW),
        ((None, NEW), set(), NEW),
        ((NONE,), {NONE}, NONE),
    ],
    ids=["behind the deletion", "behind the creation", "a cluster without ids"],
)
async def test_the_id_is_that_of_the_topic_that_was_created(
    told: tuple[bytes | None, ...], before: set[bytes], found: bytes
) -> None:
    """It is recorded as ours; the one of a deleted topic would fault the mirror, or prove what is not ours."""
    made = await Admin(*told).create_topic("t", 1, 1, {}, before=before)
    assert made.topic_id == found


async def test_a_topic_that_is_never_told_of_is_not_taken_for_ours() -> None:
    """Somebody may have deleted it at once."""
    with pytest.raises(NotOurs):
        await Admin(OLD, seconds=0.05).create_topic("t", 1, 1, {}, before={OLD})


class Told(TopicAdmin):
    """An administrator who is told these settings of each topic."""

    def __init__(self, *told: tuple[str, str | None, int]) -> None:
        super().__init__(ClusterSpec("west", (("w", 1),)))
        entry: Any = ConfigEntry
        self.told = {name: entry(name, value, source=source) for name, value, source in told}

    async def _describe(self, kind: object, names: list[str], *_: object, **__: object) -> Any:
        del kind
        return dict.fromkeys(names, self.told)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ((), "names no setting"),
        ((("", "1", 1),), "has a setting without a name"),
        ((("delete.retention.ms", "banana", 5),), "says delete.retention.ms is 'banana'"),
        ((("delete.retention.ms", "-7", 5),), "says delete.retention.ms is '-7'"),
        ((("max.message.bytes", "9" * 40, 5),), "says max.message.bytes is '99"),
        ((("retention.ms", "9" * 32_000, 5),), "(32,000 characters)"),
        ((("cleanup.policy", "\x1b[2J" * 9_000, 5),), r"says cleanup.policy is '\x1b[2J"),
    ],
)
async def test_settings_that_cannot_be_are_not_taken(told: tuple[tuple[str, str, int], ...], why: str) -> None:
    """What the copy reads as numbers are numbers; the topic is told of alone."""
    refused: dict[str, KafkaError] = {}
    assert await Told(*told).describe_configs(["t"], refused) == {}
    with pytest.raises(ProtocolError) as caught:
        await Told(*told).describe_configs(["t"])
    for error in (refused["t"], caught.value):
        assert why in error.why
        assert error.with_next_step().isprintable()
        assert len(error.with_next_step()) < 1_000


async def test_settings_of_newer_brokers_are_taken() -> None:
    """Where a value is from may have a new name; no policy at all is one since Kafka 4."""
    told = Told(("retention.ms", "-1", 99), ("cleanup.policy", "compact, delete", 5), ("min.insync.replicas", None, 5))
    found = (await told.describe_configs(["t"]))["t"]
    assert found.effective["retention.ms"] == ConfigValue("-1", "unknown_config")
    assert found.dynamic == {}
    assert found.unreported == {"retention.ms"}


async def test_a_setting_of_the_topic_without_its_value_is_not_told() -> None:
    """That is not the same as one that is not set: what was copied of it stays."""
    told = Told(("segment.ms", None, 1), ("segment.bytes", "1", 1), ("min.insync.replicas", None, 5))
    found = (await told.describe_configs(["t"]))["t"]
    assert found.dynamic == {"segment.bytes": "1"}
    assert found.unreported == {"segment.ms"}
