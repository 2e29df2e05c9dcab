"""What works between versions of Kafka: each one as source and as target of the newest, there and back.

What must work is asserted. What differs by version is compared with `docs/versions.json`, from which the table in
docs/VERSIONS.md is generated; with REPLICATOR_VERSIONS_RESULT set to that file's path it is written there instead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from replicator.devkit import KAFKA_VERSION, KAFKA_VERSION_OLD, KAFKA_VERSION_OLDEST, Cluster, start_clusters
from tests.integration.conftest import MakeCluster
from tests.integration.corpus import SHAPES, begin, write
from tests.integration.corpus.judge import same_shapes
from tests.integration.corpus.plain import creates
from tests.integration.corpus.shape import Shape
from tests.integration.group_tools import positions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, assert_equal, commit, config_of, create, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_rehearse import findings
from tests.integration.test_switchover import PARTITIONS, both_ways, flow_of, order, spread

RESULTS = Path(__file__).parents[2] / "docs/versions.json"
WRITE_TO = "REPLICATOR_VERSIONS_RESULT"
VERSIONS = (KAFKA_VERSION_OLDEST, "3.3.2", KAFKA_VERSION_OLD, "4.1.1")
PAIRS = [*((old, KAFKA_VERSION) for old in VERSIONS), *((KAFKA_VERSION, old) for old in VERSIONS)]
EAGER_CLEANER = {"log.cleaner.backoff.ms": "300"}
COPIED = {
    name: shape
    for name, shape in SHAPES.items()
    if not shape.slow and not shape.stops and not name.endswith("-open")  # nobody moves behind an open transaction
}
KEPT = {"cleanup.policy": "compact", "retention.ms": "3600000", "compression.type": "lz4"}
LIMITED = "message.timestamp."


@pytest.mark.long
@pytest.mark.timeout(590)
@pytest.mark.parametrize("pair", [*PAIRS, (KAFKA_VERSION, KAFKA_VERSION)], ids="-to-".join)
def test_there_and_back(make_cluster: MakeCluster, topic_name: str, lab: Lab, pair: tuple[str, str]) -> None:
    """The corpus, settings and groups are copied; a switchover and the one back keep both sides equal."""
    if WRITE_TO in os.environ and " to ".join(pair) in stored():
        pytest.skip("its result is there already")
    source, target = started(make_cluster, pair)
    shapes = {f"{topic_name}.{name}": shape for name, shape in corpus_of(pair[0]).items()}
    moves, kept = f"{topic_name}.moves", f"{topic_name}.kept"
    group = f"{topic_name}-group"
    begin(source, shapes)
    create(source, moves, PARTITIONS)
    create(source, kept, cleanup_policy="compact", retention_ms="3600000", compression_type="lz4")
    produce(source, moves, spread(300))
    produce(source, kept, keyed(50))
    commit(source, group, moves, dict.fromkeys(range(PARTITIONS), 40))

    daemon = both_ways(lab, source, target, f"{topic_name}.*").start(ready_seconds=0)
    write(source, shapes)
    found = same_shapes(source, target, shapes, seconds=240)
    assert len(found) == len(shapes)
    for topic in (moves, kept):
        wait_copied(source, target, topic)
    wait_until("the group follows", lambda: positions(target, group, moves, PARTITIONS) == [40] * PARTITIONS)
    wait_until("the way back stands by", lambda: "promoted" in str(flow_of(daemon, f"{lab.flow}-back")["reason"]))
    result = observed(daemon, shapes)

    there_and_back(daemon, source, target, moves, lab.flow)
    wait_until("every shape is copied again", lambda: states_of(daemon, lab.flow) == {"ACTIVE"})
    again = same_shapes(source, target, shapes, seconds=120)
    lasting = [topic for topic, shape in shapes.items() if not shape.cleaned]
    assert {topic: again[topic] for topic in lasting} == {topic: found[topic] for topic in lasting}
    assert positions(source, group, moves, PARTITIONS) == [60] * PARTITIONS
    for cluster in (source, target):
        settings = config_of(cluster, kept)
        assert settings["cleanup.policy"] == KEPT["cleanup.policy"]
        assert settings["retention.ms"] == KEPT["retention.ms"]
    assert config_of(source, kept)["compression.type"] == KEPT["compression.type"]
    assert not [name for name in config_of(source, moves) if name.startswith(LIMITED)]
    judge(pair, result)


def corpus_of(version: str) -> dict[str, Shape]:
    """Return the shapes of log that clients can make on a version of Kafka."""
    shapes, numbers = dict(COPIED), tuple(map(int, version.split(".")))
    if numbers < (3, 6):  # there no such setting is needed: any time is taken
        shapes["times"] = shapes["times"]._replace(begin=creates())
    if numbers < (4, 0):
        del shapes["transactions-v2"]  # KIP-890
    return shapes


def started(make_cluster: MakeCluster, pair: tuple[str, str]) -> tuple[Cluster, Cluster]:
    """Return two clusters of one broker each, of these versions."""
    clusters = [
        make_cluster(name=name, kafka_version=version, start=False, overrides=EAGER_CLEANER)
        for name, version in zip(("there", "here"), pair, strict=True)
    ]
    start_clusters(clusters)
    return clusters[0], clusters[1]


def keyed(count: int) -> Iterable[dict[str, Any]]:
    """Return records as a compacted topic takes them."""
    return ({"key": b"%d" % number, "value": b"%d" % number} for number in range(count))


def there_and_back(daemon: Daemon, source: Kafka, target: Kafka, moves: str, flow: str) -> None:
    """Move the flow to the target and back; write on each side in turn."""
    how = ("--producers-stopped", "--reverse", "--yes")
    group = moves.removesuffix(".moves") + "-group"
    told = order(daemon, "switchover", flow, *how)
    assert "nothing is lost" in told, told
    produce(target, moves, spread(90, 1000))
    wait_copied(target, source, moves)
    assert_equal(target, source, moves)
    commit(target, group, moves, dict.fromkeys(range(PARTITIONS), 60))
    wait_until("the group follows back", lambda: positions(source, group, moves, PARTITIONS) == [60] * PARTITIONS)
    told = order(daemon, "switchover", f"{flow}-back", *how)
    assert "nothing is lost" in told, told
    produce(source, moves, spread(90, 2000))
    wait_copied(source, target, moves)
    assert_equal(source, target, moves)


def states_of(daemon: Daemon, flow: str) -> set[str]:
    """Return the states of a flow's mirrors."""
    return {str(mirror["state"]) for mirror in flow_of(daemon, flow)["mirrors"]}


def observed(daemon: Daemon, shapes: dict[str, Shape]) -> dict[str, str]:
    """Return what differs by version, as the daemon tells it."""
    rehearsed = findings(daemon, code=0)
    assert all(check["level"] != "fail" for checks in rehearsed.values() for check in checks), rehearsed
    return {
        "shapes": str(len(shapes)),
        **{name: said(rehearsed, name) for name in ("clocks", "users", "quotas")},
    }


def said(rehearsed: dict[str, list[dict[str, Any]]], name: str) -> str:
    """Return whether a check could be made."""
    texts = [str(check["text"]) for check in rehearsed.get(name, [])]
    if any("the version of Kafka " in text for text in texts):
        return "not offered"
    levels = {check["level"] for check in rehearsed.get(name, [])}
    return "yes" if levels == {"ok"} else "; ".join(texts)


def judge(pair: tuple[str, str], result: dict[str, str]) -> None:
    """Compare with the committed results, or write them."""
    key, found = " to ".join(pair), {"copy": "yes", "switchover and back": "yes", **result}
    if WRITE_TO not in os.environ:
        assert stored()[key] == found
        return
    Path(os.environ[WRITE_TO]).write_text(json.dumps(dict(sorted({**stored(), key: found}.items())), indent=2) + "\n")


def stored() -> dict[str, dict[str, str]]:
    """Return the results that are there."""
    file = Path(os.environ.get(WRITE_TO, RESULTS))
    return dict(json.loads(file.read_text())) if file.exists() else {}
