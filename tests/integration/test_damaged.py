"""Records of `replicator.state` that cannot be read, on real brokers: told, cleared, and the flow goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from replicator.engine.state import records as state
from replicator.errors import PreflightFailed
from replicator.model.names import STATE_TOPIC
from replicator.rpc.client.control_client import ControlClient
from replicator.rpc.client.endpoint import Endpoint
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, assert_equal, bounds, create, wait_copied, wait_until
from tests.integration.load import numbered, produce

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BROKEN = b"\x0a\xff"


def _damage(daemon: Daemon, flow: str, *words: str) -> dict[str, Any]:
    done = daemon.cli("flow", "damaged", flow, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _keys(daemon: Daemon, flow: str) -> Sequence[str]:
    return [one["key"] for one in _damage(daemon, flow)["records"]]


@pytest.mark.kafka
@pytest.mark.long
@pytest.mark.parametrize("of_flow", [state.flow_key, state.writer_key])
def test_damaged_records_are_cleared_one_by_one(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab, of_flow: Callable[[str], bytes]
) -> None:
    """A group's by itself; a mirror's, whose topic is taken over; and the flow's own, only by its key said twice."""
    create(east, topic_name)
    produce(east, topic_name, numbered(50))
    daemon = lab.daemon(east, west, topic_name).start()
    wait_copied(east, west, topic_name)
    assert _keys(daemon, lab.flow) == []
    uid = daemon.flow()["flow_uid"]
    group, mirror, own = (state.group_key(uid, "billing"), state.mirror_key(uid, topic_name), of_flow(uid))

    produce(west, STATE_TOPIC, [{"key": group, "value": _BROKEN}])
    shown = _damage(daemon, lab.flow)["records"]
    assert [one["key"] for one in shown] == [group.hex()]
    assert 0 < shown[0]["offset"] < bounds(west, STATE_TOPIC)[0][1]
    produce(west, STATE_TOPIC, [{"key": group, "value": _BROKEN}])  # another one, under the same key
    with ControlClient(Endpoint(daemon.rpc)) as client:
        [again] = client.damaged(lab.flow).records
        assert again.offset > shown[0]["offset"]
    told = daemon.cli("flow", "damaged", lab.flow, "--clear", group.hex(), "--confirm", group.hex(), "-o", "json")
    assert json.loads(told.stdout)["status"] == "cleared", told.stderr
    assert _keys(daemon, lab.flow) == []

    produce(west, STATE_TOPIC, [{"key": own, "value": _BROKEN}, {"key": mirror, "value": _BROKEN}])
    assert set(_keys(daemon, uid)) == {own.hex(), mirror.hex()}
    if of_flow is state.flow_key:  # then its name is not known
        unknown = daemon.cli("flow", "damaged", lab.flow)
        assert unknown.returncode
        assert f"replicator flow damaged {uid}" in unknown.stderr
    refused = daemon.cli("flow", "damaged", uid, "--clear", own.hex())
    assert refused.returncode == PreflightFailed.exit_code
    assert "--confirm" in refused.stderr
    for key in (own, mirror):
        done = daemon.cli("flow", "damaged", uid, "--clear", key.hex(), "--confirm", key.hex(), "--reason", "a test")
        assert done.returncode == 0, done.stderr
    entries = json.loads(daemon.cli("audit", "show", "-o", "json").stdout)["entries"]
    assert [one["method"] for one in entries if one["phase"] == "outcome"] == ["ClearDamaged"] * 3

    wait_until("the flow starts as a new one", lambda: daemon.flow().get("flow_uid") not in {None, uid})
    daemon.wait_state(topic_name, "FAULTED", "foreign_writer")
    accepted = daemon.cli("mirror", "resolve", lab.flow, topic_name, "--how", "accept", "--yes")
    assert accepted.returncode == 0, accepted.stderr
    produce(east, topic_name, numbered(50, 50))
    wait_copied(east, west, topic_name)
    assert_equal(east, west, topic_name)
    assert "by a bug" not in daemon.log_tail()
