"""What the admin client tells of topics and settings, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    ConfigEntry,
    ConfigSource,
)

from replicator.model.names import TopicPartition
from replicator.model.text import said

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMBERS = {
    "delete.retention.ms": 0,
    "max.message.bytes": 0,
    "min.insync.replicas": 0,
    "retention.bytes": -1,
    "retention.ms": -1,
}
"""Settings of a topic that the copy reads as numbers, with the lowest that each may be."""
SETTING_CHARS_MAX = 40
NUMBER_MAX = 2**63 - 1
POLICY = "cleanup.policy"
POLICIES = frozenset({"", "compact", "delete"})


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """One effective setting. `value` None: not set, or sensitive. `source` as in `dynamic_topic_config`."""

    value: str | None
    source: str


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """Settings of one topic.

    Attributes:
        name: Its name.
        dynamic: Those set on the topic itself.
        effective: All that are in force, with their source.
        unreported: Names of those that may be set on the topic itself, for all that its cluster tells: they are from a
            source we do not know, or are set there and come without a value.
    """

    name: str
    dynamic: Mapping[str, str] = field(default_factory=dict)
    effective: Mapping[str, ConfigValue] = field(default_factory=dict)
    unreported: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What a cluster says of itself. `operations` None: it does not tell what this user may do."""

    cluster_id: str | None
    broker_ids: tuple[int, ...]
    operations: frozenset[str] | None

    @property
    def brokers(self) -> int:
        """How many brokers are up."""
        return len(self.broker_ids)


def nonsense(entries: Mapping[str, ConfigEntry]) -> str | None:
    """Return what cannot be so in the settings of a topic; None where nothing is wrong."""
    if not entries:
        return "names no setting"  # taken for "none is set", each would be removed from the mirror
    if "" in entries:
        return "has a setting without a name"
    for name, lowest in NUMBERS.items():
        value = entries[name].value if name in entries else None
        if value is not None and not _is_number(value, lowest):
            return f"says {name} is '{said(value, SETTING_CHARS_MAX)}'"
    policy = (entries[POLICY].value or "") if POLICY in entries else ""
    if not {part.strip() for part in policy.split(",")} <= POLICIES:
        return f"says {POLICY} is '{said(policy, SETTING_CHARS_MAX)}'"
    return None


def _is_number(text: str, lowest: int) -> bool:
    try:
        return len(text) <= SETTING_CHARS_MAX and lowest <= int(text) <= NUMBER_MAX
    except ValueError:
        return False


def _source(entry: ConfigEntry) -> str:
    """Return where a setting is from; one that a newer broker tells of is unknown."""
    try:
        return ConfigSource(entry.source).name.lower()
    except ValueError:
        return ConfigSource.UNKNOWN_CONFIG.name.lower()


def topic_config(name: str, entries: Mapping[str, ConfigEntry]) -> TopicConfig:
    """Return the settings of a topic from what librdkafka tells of them."""
    effective = {key: ConfigValue(entry.value, _source(entry)) for key, entry in entries.items()}
    own, unknown = (one.name.lower() for one in (ConfigSource.DYNAMIC_TOPIC_CONFIG, ConfigSource.UNKNOWN_CONFIG))
    dynamic = {key: found.value for key, found in effective.items() if found.source == own and found.value is not None}
    unreported = frozenset(key for key, found in effective.items() if found.source in {own, unknown}) - dynamic.keys()
    return TopicConfig(name, dynamic, effective, unreported)


def partition_of(part: Position) -> TopicPartition:
    """Return a partition as everybody else names it."""
    return TopicPartition(part.topic, part.partition)
