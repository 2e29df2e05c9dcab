"""A flow's lineage on the state topic: whose flow a file means, the order to move it, and the move in one change."""

from __future__ import annotations

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.lineage.sources import Source
from replicator.core.work import lease_calls
from replicator.engine.lineage.follow import lineage_meant
from replicator.engine.lineage.records import Order, lineage_of, moved, ordered
from replicator.engine.state import records as state
from replicator.engine.state.journal import put_switches, switches_of
from replicator.engine.state.ownership.between import ClusterPair
from replicator.engine.state.ownership.silence import Silence
from replicator.engine.topics.mirror import Mirror
from replicator.errors import Conflict, UsageError
from replicator.model.lease import Binding, LeaseCaller
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Selection
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Outcome, Verb
from replicator.state_pb import state_pb2 as pb
from replicator.store.event_store import MemoryStore
from replicator.wire.cluster import Cluster
from tests.unit.engine.test_take_over import Log

UID = "uid"
B = Source("b", "B")
ORDER = Order("o1", B, "ann", "a is lost", 5)


def world() -> Log:
    """A flow from a to c that copies, held by a daemon, with everything that is recorded about its source."""
    log = Log()
    log.apply(
        [
            state.put(
                state.flow_key(UID),
                pb.FlowRecord(
                    uid=UID,
                    name="f",
                    source_alias="a",
                    target_alias="c",
                    source_cluster_id="A",
                    target_cluster_id="C",
                    shards=2,
                ),
            ),
            state.put(state.writer_key(UID), state.writer_record(Writer(7, 0, Role.COPYING, 8, 0, 9))),
            state.put(state.claim_key(UID, 0), pb.ClaimRecord(shard=0, number=4, holder="d1")),
            state.put(state.claim_key(UID, 1), pb.ClaimRecord(shard=1, number=6, holder="d1")),
            state.put(state.presence_key(UID, "d1", 0), pb.RenewalRecord(number=1)),
            state.put(state.source_end_key(UID, 0), pb.SourceEndBlock(shard=0)),
            state.put(
                state.mirror_key(UID, "t"),
                pb.MirrorRecord(
                    owner_flow_uid=UID,
                    source_topic="t",
                    target_topic="t",
                    source_topic_id=b"a" * 16,
                    target_topic_id=b"c" * 16,
                    active_partitions=[0],
                    leader_epochs=[pb.LeaderEpoch(partition=0, epoch=9, start_offset=3)],
                    epochs_unproven={0: 7},
                ),
            ),
        ]
    )
    return log


def order(log: Log) -> None:
    """Order the move."""
    log.apply(ordered(log.records, UID, ORDER, lineage_of(state.get_flow(log.records, UID))))


def test_the_move_is_one_change() -> None:
    """Source, epochs, claims and what was observed change together; a second executor changes nothing."""
    log = world()
    last = Journal("s1", Verb.SWITCHOVER, locks=("lock",), outcome=Outcome.ABORTED)
    log.apply(put_switches(UID, Switches(last)))
    order(log)
    judged = state.signs_of(log.records, UID)
    assert judged
    changes = moved(log.records, UID, "o1", None, judged)
    log.apply(changes)
    lineage = lineage_of(state.get_flow(log.records, UID))
    assert (lineage.epoch, lineage.source, lineage.earlier, lineage.ordered) == (1, B, (Source("a", "A"),), None)
    writer = state.get_writer_record(log.records, UID)
    assert (writer.epoch, writer.continues_from, writer.lineage_epoch, writer.coordinator_epoch) == (1, 0, 1, 0)
    assert not state.signs_of(log.records, UID)
    assert [claim.number for shard in (0, 1) if (claim := state.get_claim(log.records, UID, shard))] == [6, 6]
    assert state.source_end_key(UID, 0) not in log.records
    assert switches_of(log.records, UID).current is None, "its locks are rules of the old source"
    assert moved(log.records, UID, "o1", None, {}) == []


def test_a_sign_of_life_in_between_holds_the_move_up() -> None:
    """What was judged to be silent has to be all there is."""
    log = world()
    order(log)
    judged = state.signs_of(log.records, UID)
    log.apply([state.put(state.presence_key(UID, "d2", 1), pb.RenewalRecord(number=1))])
    assert moved(log.records, UID, "o1", None, judged) == []
    assert lineage_of(state.get_flow(log.records, UID)).ordered == B


def test_two_operators_order_different_sources() -> None:
    """One wins, and the other is told."""
    log = world()
    known = lineage_of(state.get_flow(log.records, UID))
    order(log)
    with pytest.raises(Conflict, match="in the meantime"):
        ordered(log.records, UID, ORDER._replace(to=Source("d", "D")), known)


def test_silence_is_counted_from_the_last_change() -> None:
    """Of each sign by itself."""
    log, now = world(), 0.0
    silence = Silence(UID, 10.0, lambda: now)
    assert silence.judge(log.records) is None
    now = 9.0
    log.apply([state.put(state.presence_key(UID, "d1", 0), pb.RenewalRecord(number=2))])
    assert silence.judge(log.records) is None
    now = 18.0
    assert silence.judge(log.records) is None
    now = 19.0
    assert silence.judge(log.records) == state.signs_of(log.records, UID)


def test_what_a_mirror_knew_of_its_old_source_is_not_taken() -> None:
    """Neither its topic's id, nor its leader epochs; everything about the target is."""
    log = world()
    stored = state.get_mirror(log.records, UID, "t")
    assert stored is not None
    old, new = Mirror("t", "t", lineage=0), Mirror("t", "t", lineage=1)
    old.take(stored)
    new.take(stored)
    assert (old.source_id, old.epochs, old.epochs_unproven) == (b"a" * 16, {0: 9}, {0: 7})
    assert (new.source_id, new.epochs, new.epochs_unproven) == (bytes(16), {}, {})
    assert (new.target_id, new.active) == (b"c" * 16, {0})
    new.source_id = b"b" * 16
    written = new.as_record((UID, "f"), stored)
    assert (written.source_topic_id, written.lineage_epoch, len(written.leader_epochs)) == (b"b" * 16, 1, 0)
    assert not written.epochs_unproven


def _pair(store: MemoryStore, alias: str, *, said: str | None = None) -> tuple[FlowSpec, ClusterPair, Cluster]:
    flow = FlowSpec("f", alias, "c", Selection(()))
    source = Cluster(ClusterSpec(alias, (("s", 1),), cluster_id=said))
    target = Cluster(ClusterSpec("c", (("t", 1),)))
    target.cluster_id = "C"
    return flow, ClusterPair(flow, source, target, store), target


def test_whose_flow_a_file_means() -> None:
    """The one from its source; the one that was moved away from there; the one that this daemon ran before."""
    log = world()
    here = lineage_of(state.get_flow(log.records, UID))
    store = MemoryStore()
    assert lineage_meant(log.records, *_pair(store, "a")) is None, "nothing tells which cluster a is"
    assert lineage_meant(log.records, *_pair(store, "a", said="A")) == here
    assert lineage_meant(log.records, *_pair(store, "b", said="B")) is None, "another site's flow of that name"
    store.note_cluster("f", "a", "A")
    assert lineage_meant(log.records, *_pair(store, "a")) == here
    assert lineage_meant(log.records, *_pair(store, "b", said="B")) == here, "its file was changed"
    order(log)
    log.apply(moved(log.records, UID, "o1", None, state.signs_of(log.records, UID)))
    there = lineage_of(state.get_flow(log.records, UID))
    for alias, said in (("a", None), ("a", "A"), ("b", "B")):
        assert lineage_meant(log.records, *_pair(store, alias, said=said)) == there
    assert lineage_meant(log.records, *_pair(MemoryStore(), "a", said="rebuilt")) is None


def test_a_coordinator_follows_a_move_and_nothing_else() -> None:
    """A higher lineage epoch names another source; a lower one, or another target, is refused."""
    caller = LeaseCaller("uid", "f", "d1", "x", 1, source_cluster_id="A", target_cluster_id="C")
    before = lease_calls.bound(None, caller)
    moved_on = LeaseCaller("uid", "f", "d1", "x", 1, source_cluster_id="B", target_cluster_id="C", lineage_epoch=1)
    after = lease_calls.bound(before, moved_on)
    assert after == Binding("f", "B", "C", 1)
    with pytest.raises(Conflict, match="source_cluster_id"):
        lease_calls.bound(after, caller)
    other = LeaseCaller("uid", "f", "d1", "x", 1, source_cluster_id="B", target_cluster_id="X", lineage_epoch=2)
    with pytest.raises(Conflict, match="target_cluster_id"):
        lease_calls.bound(after, other)
    with pytest.raises(UsageError):
        lease_calls.check(LeaseCaller("uid", "f", "d1", "x", 1, lineage_epoch=-1))
