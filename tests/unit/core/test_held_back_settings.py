"""Settings of mirrors that are held back until they are opened, and what they get then."""

from __future__ import annotations

from dataclasses import replace

from replicator.core.topics.configs import at_promotion, desired_configs, opened_uncompacted
from replicator.core.topics.plan import RecordedTopic, TargetCluster
from tests.unit.core.test_topic_plan import (
    AFTER,
    BEFORE,
    DIFFERENCE,
    EFFECTIVE,
    FLOW,
    KAFKA_2_8,
    KAFKA_3_9,
    KAFKA_4,
    SOURCE,
    created,
    plan,
)


def test_a_limit_of_record_times_is_held_back_under_the_names_of_the_target() -> None:
    """What the old setting limits its two successors do; where they differ, the old one cannot say it."""

    def held(known: frozenset[str], **limits: str) -> dict[str, str]:
        names = {f"message.timestamp.{name}.max.ms": value for name, value in limits.items()}
        source = replace(SOURCE, configs={**SOURCE.configs, **names})
        return dict(plan(source, cluster=TargetCluster(3, known)).held_back)

    assert held(KAFKA_4, difference="1000") == {BEFORE: "1000", AFTER: "1000"}
    assert held(KAFKA_3_9, difference="1000", after="5") == {BEFORE: "1000", AFTER: "5"}
    assert held(KAFKA_2_8, difference="1000") == {DIFFERENCE: "1000"}
    assert held(KAFKA_2_8, before="1000", after="1000") == {DIFFERENCE: "1000"}
    assert held(KAFKA_2_8, before="1000", after="5") == {}


def test_the_policy_of_a_topic_that_is_seeded_is_held_back() -> None:
    """Opened in that moment, it gets all of the source's policy, and keeps nothing that we set for the seed."""
    source = replace(SOURCE, configs={"cleanup.policy": "compact", "retention.ms": "1000", "compression.type": "lz4"})
    made = plan(replace(source, effective={}), None, recorded=RecordedTopic(seeding=True))
    present = created(made).configs
    to_set, remove = at_promotion(made.managed, made.held_back, present)
    assert to_set == {"cleanup.policy": "compact", "retention.ms": "1000", "compression.type": "lz4"}
    assert set(remove) == {"retention.bytes", "message.timestamp.type", BEFORE, AFTER}
    opened = {name: value for name, value in {**present, **to_set}.items() if name not in remove}
    assert at_promotion(made.managed, made.held_back, opened) == ({}, ())


def test_an_opened_topic_gets_what_the_source_says_at_that_moment() -> None:
    """Set, changed and removed on the source since the last look at it; an operator's own on the target stays."""
    made = plan(replace(SOURCE, configs={"retention.ms": "1000", "segment.ms": "7"}), None)
    present = {**created(made).configs, "flush.ms": "3"}
    fresh = desired_configs(
        {"retention.ms": "5000", "compression.type": "zstd"},
        {**EFFECTIVE, "retention.ms": "5000"},
        FLOW.topic_configs,
        replication_factor=3,
        known=KAFKA_4,
    )
    to_set, remove = at_promotion(made.managed, made.held_back, present, fresh)
    assert to_set == {"retention.ms": "5000", "compression.type": "zstd"}
    assert set(remove) == {"segment.ms", "message.timestamp.type", BEFORE, AFTER}
    opened = {name: value for name, value in {**present, **to_set}.items() if name not in remove}
    assert at_promotion(made.managed, made.held_back, opened, fresh) == ({}, ())


def test_a_topic_that_was_opened_uncompacted_is_recognised() -> None:
    """By what was set for its seed, where no policy was recorded as held back."""
    seeded = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    assert opened_uncompacted(seeded, {}, seeded)
    assert not opened_uncompacted(seeded, {"cleanup.policy": "compact"}, seeded)
    assert not opened_uncompacted(seeded, {}, {**seeded, "cleanup.policy": "compact"})
    assert not opened_uncompacted({"cleanup.policy": "delete"}, {}, {"cleanup.policy": "delete"})
