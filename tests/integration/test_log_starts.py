"""A source's log start that is moved by hand, and a compacted topic whose copy was away for too long."""

from __future__ import annotations

import time

import pytest

from tests.integration.corpus.compaction import cleaned, compacted
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, bounds, create, delete_below, wait_copied, wait_until
from tests.integration.load import numbered, produce
from tests.integration.test_resolve import resolve


def test_a_start_that_is_moved_is_followed_within_the_limit(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """Each move is logged; one that is too long is told and not made."""
    followed, kept = f"{topic_name}-followed", f"{topic_name}-kept"
    for topic in (followed, kept):
        create(east, topic)
        produce(east, topic, numbered(40))
    daemon = lab.daemon(east, west, f"{topic_name}-*", follow_log_start=True, follow_log_start_limit=20).start()
    for topic in (followed, kept):
        wait_copied(east, west, topic)

    delete_below(east, followed, 15)
    delete_below(east, kept, 30)

    wait_until("the start is followed", lambda: bounds(west, followed)[0] == (15, 40))
    wait_until("the other is told", lambda: "30 offsets would be deleted at once" in daemon.log_tail())
    assert bounds(west, kept)[0] == (0, 40)
    assert "log start followed" in daemon.log_tail()
    assert daemon.mirror(kept)["state"] == "ACTIVE"


@pytest.mark.long
def test_a_compacted_topic_that_was_away_too_long(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Deleted keys might live on at the target: it stops at the first missing offset, until an operator accepts."""
    compacted(east, topic_name, delete_retention_ms="1000")
    produce(east, topic_name, [{"key": b"%d" % at, "value": b"v"} for at in range(20)])
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    time.sleep(6)  # the time at which it was level is recorded every few seconds
    assert daemon.stop() == 0
    produce(east, topic_name, [{"key": b"%d" % at, "value": None} for at in range(5)])
    for number in range(3):
        time.sleep(0.8)
        produce(east, topic_name, [{"key": b"%d" % at, "value": b"%d" % number} for at in range(5, 20)])
    cleaned(east, topic_name)
    time.sleep(60)  # less is forgiven

    daemon.start()
    daemon.wait_state(topic_name, "FAULTED", "tombstones_may_be_lost")
    losses = resolve(daemon, lab.flow, topic_name, "accept")

    assert "tombstones" in losses[0]["text"]
    wait_copied(east, west, topic_name)
