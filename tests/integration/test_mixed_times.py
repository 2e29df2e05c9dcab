"""New and old record times take turns in one partition: each old batch ends the target's producer state."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, wait_copied
from tests.integration.load import numbered, produce

OLD_MS = 1_590_000_000_000
CLIENTS = {"request_timeout": "2s", "doubt_margin": "1s"}
KEEP: dict[str, Any] = {"retention.ms": "-1"}


def _take_turns(cluster: Kafka, topic: str, first: int, turns: int) -> None:
    for turn in range(turns):
        now_ms = int(time.time() * 1000)
        produce(cluster, topic, numbered(20, first + turn * 40, timestamp=now_ms))
        produce(cluster, topic, numbered(20, first + turn * 40 + 20, timestamp=OLD_MS))


@pytest.mark.long
def test_one_daemon_goes_on_at_once(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Alone, it waits for nobody: many turns are copied within seconds, also over a kill."""
    create(east, topic_name, **KEEP)
    _take_turns(east, topic_name, 0, 15)
    daemon = lab.daemon(east, west, topic_name, clients=CLIENTS).start()
    wait_copied(east, west, topic_name, seconds=30)
    _take_turns(east, topic_name, 600, 5)
    daemon.kill()
    daemon.start()

    found = assert_equal(east, west, topic_name)

    assert [record.value for record in found[0]] == [b"value-%d" % number for number in range(800)]


@pytest.mark.long
def test_two_unaware_daemons_wait_for_each_other(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Slower, as the guard may only go once the other's places are too old; nothing is doubled."""
    create(east, topic_name, **KEEP)
    daemons = [lab.daemon(east, west, topic_name, clients=CLIENTS).start() for _ in range(2)]
    for round_ in range(3):
        _take_turns(east, topic_name, round_ * 80, 2)
        wait_copied(east, west, topic_name, seconds=110)
        daemons[round_ % 2].kill()
        daemons[round_ % 2].start()

    found = assert_equal(east, west, topic_name)

    assert [record.value for record in found[0]] == [b"value-%d" % number for number in range(240)]
