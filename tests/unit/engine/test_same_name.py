"""Two flows of one name on one target are two flows, whatever is known of their sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.preflight.owners import known_flows
from replicator.engine.state import records as state
from replicator.engine.state.journal import copy_of, put_copy, put_switches
from replicator.engine.state.ownership.between import ClusterPair
from replicator.engine.switch.repairs.mix_ups import foreign_switches, undoing, what_they_left
from replicator.engine.switch.takeover import Takeover, take_over
from replicator.errors import WrongCluster
from replicator.model.operations.report import Level
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Selection
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Verb
from replicator.state_pb import state_pb2 as pb
from replicator.store.event_store import MemoryStore
from replicator.store.sqlite_events import SqliteStore
from replicator.wire.cluster import Cluster
from tests.unit.engine.test_take_over import Log

if TYPE_CHECKING:
    from replicator.store.event_store import Store

NAME = "dr"
FLOW = FlowSpec(NAME, "east", "west", Selection(()))
OTHER_SITES = pb.FlowRecord(
    uid="other", name=NAME, source_alias="east", source_cluster_id="site a", target_cluster_id="hub"
)


def _between(store: Store, *, answers: str | None = None, said: str | None = None) -> ClusterPair:
    """Return what a daemon knows whose target answers, and whose source answers as this cluster or not at all."""
    source = Cluster(ClusterSpec("east", (("e", 9092),), cluster_id=said))
    target = Cluster(ClusterSpec("west", (("w", 9092),)))
    source.cluster_id, target.cluster_id = answers, "hub"
    return ClusterPair(FLOW, source, target, store)


def _records(*flows: pb.FlowRecord) -> dict[bytes, bytes]:
    log = Log()
    log.apply([state.put(state.flow_key(one.uid), one) for one in flows])
    return log.records


def test_a_source_that_never_answered_fits_no_flow() -> None:
    """Not even the only one of the name; what the operator has to say is told, with what is there."""
    records = _records(OTHER_SITES)
    nobody = _between(MemoryStore())
    assert nobody.record(records) is None
    why = nobody.unknown(records)
    assert why is not None
    assert "from: site a (east)" in why.why
    assert "clusters.east.cluster_id" in why.next_step
    assert _between(MemoryStore(), said="site b").record(records) is None
    assert _between(MemoryStore(), said="site a").record(records) == OTHER_SITES
    assert _between(MemoryStore(), answers="site a").record(records) == OTHER_SITES
    assert _between(MemoryStore(), answers="site b").record(records) is None


def test_a_daemon_knows_its_own_source_after_a_restart(tmp_path: Path) -> None:
    """What it noted tells which flow it is while the source is gone."""
    records = _records(OTHER_SITES, pb.FlowRecord(uid="b", name=NAME, source_cluster_id="x", target_cluster_id="hub"))
    store = SqliteStore(tmp_path)
    _between(store, answers="site a").note()
    store.close()
    store = SqliteStore(tmp_path)
    again = _between(store)
    assert again.record(records) == OTHER_SITES
    assert again.unknown(records) is None
    assert again.target_id() == "hub"
    store.close()


def test_a_rebuilt_source_is_not_taken_for_the_one_before() -> None:
    """The changed id is said at once, with what was and what is; until the file says that the new one is meant."""
    store = MemoryStore()
    records = _records(OTHER_SITES)
    _between(store, answers="site a").note()
    rebuilt = _between(store, answers="new")
    with pytest.raises(WrongCluster, match="copies from site a, and new answers now") as told:
        rebuilt.check_source(records)
    assert 'clusters.east.cluster_id: "new"' in told.value.next_step
    assert rebuilt.record(records) == OTHER_SITES, "so that the target can still be opened"

    with pytest.raises(WrongCluster, match="copies from site a, and new answers now"):
        rebuilt.check_noted_source()  # where the target is lost, too, and nothing else tells
    _between(store, answers="site a").check_noted_source()
    _between(MemoryStore(), answers="new").check_noted_source()

    agreed = _between(store, answers="new", said="new")
    agreed.check_noted_source()
    agreed.check_source(records)
    assert agreed.record(records) is None
    rebuilt.check_source({})  # a target that knows of no flow is asked nothing


def test_validate_tells_of_flows_of_the_same_name() -> None:
    """From which source each is, and that it is another one."""
    (new, other) = known_flows([OTHER_SITES], "site b", "hub")
    assert new.text.startswith("there, and this flow is not in it yet")
    assert other.level is Level.WARN
    assert "flow dr from east (cluster site a) is there too" in other.text
    (mine,) = known_flows([OTHER_SITES], "site a", "hub")
    assert mine.text == "there, and knows this flow (uid other)"
    (copied,) = known_flows([OTHER_SITES], "site a", "elsewhere")
    assert copied.level is Level.FAIL


async def test_switches_of_another_flow_are_undone() -> None:
    """A way back that another flow's switch began stands by again; one that its own switch began goes on."""
    switch = Journal("s1", Verb.SWITCHOVER, flow=NAME)
    target = _records(OTHER_SITES)
    target.update({key: value for key, value in put_switches("other", Switches(switch)) if value is not None})
    (foreign,) = foreign_switches(target, "mine", NAME, "site b")
    assert foreign_switches(target, "other", NAME, "site a") == []

    source = Log()
    source.apply([state.put(state.flow_key("uid"), pb.FlowRecord(uid="uid", name="back"))])
    source.apply([state.put(state.writer_key("uid"), state.writer_record(Writer(7, 0, Role.PROMOTED, 8, 0, 9)))])
    taken = Takeover("t", "t", bytes(16), bytes(16), {0: OffsetPair(5, 5)})
    await take_over(source, "uid", [taken], epoch=0, reason="switchover s0 of dr", actor="")  # type: ignore[arg-type]
    assert what_they_left(source.records, "uid", [foreign]) == []
    assert undoing(source.records, "uid", [foreign]) == []

    source.apply([state.put(state.writer_key("uid"), state.writer_record(Writer(7, 0, Role.PROMOTED, 8, 0, 9)))])
    await take_over(source, "uid", [taken], epoch=0, reason="switchover s1 of dr", actor="")  # type: ignore[arg-type]
    source.apply([put_copy("other", switch)])
    assert what_they_left(source.records, "", [foreign]) == [
        "a copy of a switch of the flow from east (cluster site a)"
    ]
    copy, topic = what_they_left(source.records, "uid", [foreign])
    assert copy == "a copy of a switch of the flow from east (cluster site a)"
    assert "topic t, taken over" in topic
    assert "partition 0 from 5" in topic
    source.apply(undoing(source.records, "uid", [foreign]))
    assert source.role is Role.PROMOTED
    assert copy_of(source.records, "other") is None
    assert undoing(source.records, "uid", [foreign]) == []
