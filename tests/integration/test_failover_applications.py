"""An application that works exactly once loses its region: it goes on where the failover left its group."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

from replicator.devkit import Cluster
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.transactional import transactional
from tests.integration.group_tools import positions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, create, read_all, wait_copied, wait_until
from tests.integration.load import Load
from tests.integration.test_switch_applications import Upper, committed
from tests.integration.test_switchover import PARTITIONS, both_ways, last_switch, order

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

NEVER = b"never"
AHEAD = 1500


def undecided(cluster: Cluster, topic: str, *, leaves_open: bool) -> None:
    """Write what must not be seen to every partition: aborted, and at last perhaps left open."""
    with transactional(cluster, f"{topic}-never") as producer:
        for turn in range(4):
            producer.begin_transaction()
            for number in range(PARTITIONS):
                producer.produce(topic, NEVER, partition=number)
            assert producer.flush(30) == 0
            if turn < 3 or not leaves_open:
                producer.abort_transaction(30)


def announced(daemon: Daemon, flow: str, group: str) -> int:
    """Return how many offsets the failover said that the group reads again at most."""
    (text,) = [one for one in last_switch(daemon, flow)["groups_detail"] if one.startswith(f"{group}:")]
    found = re.search(r"offsets read again: ([\d,]+) as far as is known, ([\d,]+) at most", text)
    assert found, text
    known, most = (int(one.replace(",", "")) for one in found.groups())
    assert known <= most
    return most


@pytest.mark.parametrize("how", ["inside a transaction", "at work", "behind an open transaction"])
def test_a_transactional_application(
    west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster, how: str
) -> None:
    """Nothing that reached the target is left out, and no more is worked on twice than the failover said."""
    source = make_cluster()
    topics, name = (f"{topic_name}-in", f"{topic_name}-out"), f"{topic_name}-app"
    for topic in topics:
        create(source, topic, PARTITIONS)
    groups = {"include": [name], "sync_every": "500ms"}
    daemon = both_ways(lab, source, west, f"{topic_name}-*", groups=groups).start(ready_seconds=0)
    for topic in topics:
        wait_copied(source, west, topic)
    one = Upper(source, topics, name)
    one.start()
    with Load(source, {topics[0]: PARTITIONS}, per_second=1000) as load:
        wait_until("its output is copied", lambda: len(committed(west, topics[1])) > AHEAD)
        wait_until("its group follows", lambda: sum(at or 0 for at in positions(west, name, topics[0], PARTITIONS)) > 0)
        undecided(source, topics[1], leaves_open=how == "behind an open transaction")
        time.sleep(2.0)  # it works on, and what it writes may wait behind the open one
        if how == "inside a transaction":
            one.hang()
        source.kill()
        load.abandon()
    one.lose()
    order(daemon, "failover", lab.flow, "--confirm", lab.flow)

    left = committed(west, topics[1])
    assert max(Counter(left).values()) == 1
    assert not {NEVER, *one.hung} & set(left)
    inputs = {record.value or b"" for records in read_all(west, topics[0]).values() for record in records}
    wanted = {b"done " + value for value in inputs}
    other = Upper(west, topics, name)
    other.start()
    wait_until("all that was copied is worked on", lambda: wanted <= set(committed(west, topics[1])), 60)
    other.stop()
    found = Counter(committed(west, topics[1]))
    acked = {b"done " + value for records in load.acked.values() for value in records.values()}
    assert wanted <= found.keys() <= wanted | acked
    doubled = found.total() - len(found)
    assert doubled <= announced(daemon, lab.flow, name), last_switch(daemon, lab.flow)["groups_detail"]
