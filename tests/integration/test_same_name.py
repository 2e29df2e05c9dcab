"""Two flows of one name on one target: each is told from the other by the clusters that it goes between."""

from __future__ import annotations

import pytest

from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, create, wait_copied, wait_until
from tests.integration.load import numbered, produce

NOWHERE = {"bootstrap": "127.0.0.1:1", "client": {"request_timeout": "1s"}}
"""A source that does not answer: which cluster it is, nobody knows."""


def _named_alike(lab: Lab, east: Kafka, west: Kafka, topic: str) -> tuple[Daemon, Daemon]:
    """Return a daemon that copies, and one of another site with the same template, whose source never answered."""
    create(east, topic, 1)
    produce(east, topic, numbered(20))
    first = lab.daemon(east, west, topic).start()
    wait_copied(east, west, topic)
    other = lab.daemon(NOWHERE, west, topic).start(ready_seconds=0)
    wait_until("it answers", lambda: other.cli("flow", "list").returncode == 0)
    return first, other


@pytest.mark.long
def test_a_source_that_never_answered_is_unknown(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """A daemon that cannot know whose flow it runs takes no part in switches of the only flow of that name."""
    first, other = _named_alike(lab, east, west, topic_name)
    told = other.cli("failover", lab.flow, "--confirm", lab.flow)
    assert told.returncode, told.stdout
    assert "cluster_id" in told.stderr, told.stderr
    assert first.flow()["state"] == "ACTIVE"

    done = first.cli("failover", lab.flow, "--confirm", lab.flow)
    assert done.returncode == 0, done.stderr
    wait_until("it is seen", lambda: first.flow()["state"] == "FAILED_OVER")
    assert other.flow()["state"] != "FAILED_OVER"
    told = other.cli("failover", lab.flow, "--confirm", lab.flow)
    assert told.returncode, "what was done about another flow is not done about this one"
