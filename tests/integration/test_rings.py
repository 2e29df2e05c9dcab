"""Flows that lead back to where they begin: a topic goes round once, whatever their files say."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import Kafka, admin, assert_equal, create, wait_until
from tests.integration.load import numbered, produce


def one_way(lab: Lab, source: Kafka, target: Kafka, name: str, topics: dict[str, Any], **flow: Any) -> Daemon:
    """Make the daemon of one direction, with a file of its own: neither knows of the other's."""
    daemon = lab.daemon(source, target, "-", groups={"include": []}, **flow)
    (made,) = daemon.document["flows"].values()
    made["topics"] = topics
    daemon.document["flows"] = {f"{lab.flow}-{name}": made}
    daemon.write()
    return daemon


def topics_of(cluster: Kafka, part: str) -> set[str]:
    """Return the topics in whose name that stands."""
    return {name for name in admin(cluster).list_topics(timeout=10).topics if part in name}


def left_out(daemon: Daemon) -> dict[str, str]:
    """Return what a flow leaves out."""
    return {one["topic"]: one["why"] for one in daemon.flow()["left_out"]}


@pytest.mark.long
def test_two_flows_that_feed_each_other_come_to_rest(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Each pattern matches what the other flow makes: it is left out by what is recorded, and told by name.

    Also what `validate --connect` says, and `verify`.
    """
    mine = {"include": [f"*{topic_name}*"]}
    create(east, topic_name)
    create(west, f"{topic_name}-too")
    for cluster, name in ((east, topic_name), (west, f"{topic_name}-too")):
        produce(cluster, name, numbered(20))
    forth = one_way(lab, east, west, "forth", {**mine, "rename": {"prefix": "a."}}).start()
    back = one_way(lab, west, east, "back", {**mine, "rename": {"prefix": "b."}}).start()
    assert_equal(east, west, topic_name, to=f"a.{topic_name}")
    assert_equal(west, east, f"{topic_name}-too", to=f"b.{topic_name}-too")
    wait_until("both tell what they leave out", lambda: left_out(forth) and left_out(back))
    assert f"is a copy made by flow {lab.flow}-forth" in left_out(back)[f"a.{topic_name}"]
    assert list(left_out(forth)) == [f"b.{topic_name}-too"]

    # Another topic, and two looks at all names: nothing more came of it.
    create(east, f"{topic_name}-last")
    produce(east, f"{topic_name}-last", numbered(5))
    assert_equal(east, west, f"{topic_name}-last", to=f"a.{topic_name}-last")
    wait_until("that is seen", lambda: f"a.{topic_name}-last" in left_out(back))
    assert topics_of(east, topic_name) == {topic_name, f"{topic_name}-last", f"b.{topic_name}-too"}
    assert topics_of(west, topic_name) == {f"a.{topic_name}", f"a.{topic_name}-last", f"{topic_name}-too"}

    flow = next(iter(back.document["flows"]))
    verified = subprocess.run(
        [str(REPLICATOR), "verify", flow, "-c", str(back.file), "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [one["topic"] for one in json.loads(verified.stdout)["topics"]] == [f"{topic_name}-too"]
    looked = subprocess.run(
        [str(REPLICATOR), "validate", "--connect", str(back.file)], capture_output=True, text=True, check=False
    )
    assert f"a.{topic_name}" in looked.stdout
    assert "its full name in topics.include" in looked.stdout
    assert "left out: 2 topics" in back.cli("flow", "status").stdout
