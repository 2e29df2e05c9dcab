"""Target topics of another flow: whose they are is told, and they are adopted with what is known of them, or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run
from replicator.core.offsets.resolution import GoOn
from replicator.core.topics.owner import OwnerLiveness, OwnerState, check_adoption
from replicator.engine.copy.partitions.live_maps import offset_block
from replicator.engine.offsets.adopt import AdoptedMirror
from replicator.engine.state import records as state
from replicator.engine.state.ownership.owners import Owners, owner_of
from replicator.engine.topics.mirror import Mirror
from replicator.engine.topics.sync import TopicSync
from replicator.errors import Conflict
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Selection
from replicator.model.status.states import Reason
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster
from tests.unit.engine.test_take_over import Log as Table

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import Change


class Log(Table):
    """A state topic that tells how far it was read."""

    position = 0

    def apply(self, changes: list[Change]) -> None:
        """Write changes."""
        super().apply(changes)
        self.position += len(changes)


ID, OTHER_ID = bytes([1] * 16), bytes([2] * 16)
HERS = GoOn(0, OffsetPair(42, 42), mapped=False)


def _log(role: Role | None = Role.COPYING, *, mapped: bool = False, released: bool = False) -> Log:
    """Return a state topic on which flow `a-to-c` from cluster `a` owns topic `t`, and `b-to-c` from `b` does not."""
    log = Log()
    log.apply(
        [
            state.put(
                state.flow_key("old"),
                pb.FlowRecord(uid="old", name="a-to-c", source_alias="a", source_cluster_id="A", target_cluster_id="C"),
            ),
            state.put(state.flow_key("new"), pb.FlowRecord(uid="new", name="b-to-c", source_cluster_id="B", shards=1)),
            state.put(state.claim_key("old", 0), pb.ClaimRecord(number=3, holder="one", released=released)),
            state.put(state.segment_key("old", "t", 0, 7), pb.SegmentBlock()),
        ]
    )
    if role is not None:
        log.apply([state.put(state.writer_key("old"), state.writer_record(Writer(7, 0, role, 8, 0, 9)))])
    mirror = pb.MirrorRecord(
        owner_flow_uid="old",
        owner_flow_name="a-to-c",
        source_topic="t",
        target_topic="t",
        source_topic_id=ID,
        source_partitions=1,
        active_partitions=[0],
        generation=4,
        managed={"retention.ms": "1"},
    )
    mirror.given_up[0].ranges.append(pb.OffsetRange(first=1, end=2))
    if mapped:
        offsets = OffsetMap(OffsetPair(0, 0))
        offsets.add(Run(0, 5, 10))
        mirror.maps[0].CopyFrom(pb.PartitionMap(base=offset_block(offsets, offsets.end), judged_from=3))
    log.apply([state.put(state.mirror_key("old", "t"), mirror)])
    return log


@pytest.mark.parametrize(
    ("role", "state", "words"),
    [
        (Role.COPYING, OwnerState.COPIES, "t is a mirror of flow a-to-c (from a, cluster A)"),
        (Role.FENCING, OwnerState.SWITCHES, "a switch of which is under way"),
        (Role.PROMOTED, OwnerState.OPEN, "whose target was opened: applications may write to it"),
        (None, OwnerState.REMOVED, "t was a mirror of flow a-to-c"),
    ],
)
def test_an_owner_is_named_as_what_it_is(role: Role | None, state: OwnerState, words: str) -> None:
    """That copies, is being switched, was opened, or was removed."""
    owner = owner_of(_log(role).records, ("b-to-c", "B"), "old", "t")
    assert owner.state is state
    assert words in owner.text("t", "b", "B")


def test_the_own_name_tells_of_another_source() -> None:
    """The changed cluster is the first thing said; a flow of another name from the same source may be the same one."""
    records = _log().records
    rebuilt = owner_of(records, ("a-to-c", "A2"), "old", "t").text("t", "a", "A2")
    assert rebuilt.startswith(
        "cluster a of flow a-to-c is A2, and t is the mirror of a flow of the same name from A (a)"
    )
    renamed = owner_of(records, ("a-to-c-new", "A"), "old", "t").text("t", "a", "A")
    assert renamed.endswith("was that flow renamed?")


@pytest.mark.parametrize(
    ("role", "step"),
    [
        (
            Role.COPYING,
            "`replicator mirror forget a-to-c t`, then `replicator mirror resolve b-to-c TOPIC --how accept`",
        ),
        (Role.FENCING, "`replicator switch status a-to-c`"),
        (Role.PROMOTED, "`replicator mirror resolve b-to-c TOPIC --how accept` adopts it"),
        (None, "`replicator mirror resolve b-to-c TOPIC --how accept` adopts it"),
    ],
)
def test_what_helps_depends_on_what_the_owner_does(role: Role | None, step: str) -> None:
    """A flow that goes on shows signs of life whatever it leaves out: its record has to be forgotten there first."""
    assert step in owner_of(_log(role).records, ("b-to-c", "B"), "old", "t").next_step("b-to-c")


def test_a_flow_at_work_keeps_its_topic() -> None:
    """It is adopted once nothing was seen of that flow's daemons for long enough, or they said that they ended."""
    log, now = _log(), [0.0]
    flow = FlowSpec("b-to-c", "b", "c", Selection(()))
    owners = Owners(flow, "new", log, 30.0, lambda: now[0])  # type: ignore[arg-type]
    owner = owners.of("t")
    assert owner is not None
    assert owners.of("u") is None
    for at in (0.0, 29.0):
        now[0] = at
        with pytest.raises(Conflict, match="are active") as refused:
            check_adoption(owner, owners.observe(owner), "t")
        assert "`replicator mirror forget a-to-c t`" in refused.value.next_step, "its daemons stay at work otherwise"
    log.apply([state.put(state.renewal_key("old", 0), pb.RenewalRecord(renewal=1))])
    now[0] = 31.0
    with pytest.raises(Conflict, match="are active"):
        check_adoption(owner, owners.observe(owner), "t")
    now[0] = 61.0
    check_adoption(owner, owners.observe(owner), "t")

    log.apply([state.put(state.claim_key("old", 0), pb.ClaimRecord(number=3, released=True))])
    now[0] = 62.0
    check_adoption(owner, owners.observe(owner), "t")


@pytest.mark.parametrize("role", [Role.FENCING, Role.PROMOTED, None])
def test_whose_flow_does_not_copy(role: Role | None) -> None:
    """A switch that is under way is waited for; a flow that was opened or removed writes no more."""
    owner = owner_of(_log(role).records, ("b-to-c", "B"), "old", "t")
    seen = OwnerLiveness(signs=True, quiet_seconds=0.0, silence_seconds=30.0)
    if role is Role.FENCING:
        with pytest.raises(Conflict, match="switch"):
            check_adoption(owner, seen, "t")
    else:
        check_adoption(owner, seen, "t")


def _handed_over(log: Log, source: tuple[str, bytes]) -> tuple[pb.MirrorRecord, AdoptedMirror]:
    adopted, record = AdoptedMirror(log.records, "old", "t"), pb.MirrorRecord(source_topic="t", target_topic="t")
    log.apply(adopted.hand_over(log.records, record, source))
    return record, adopted


def test_the_record_moves_with_its_map() -> None:
    """From the same source: all that is known of it. Nothing of the old owner's is left."""
    log = _log()
    record, adopted = _handed_over(log, ("A", ID))
    assert record.managed == {"retention.ms": "1"}
    assert record.given_up[0].ranges[0].end == 2
    assert (record.generation, record.source_topic_id) == (4, ID)
    assert state.get_mirror(log.records, "old", "t") is None
    assert state.segment_key("old", "t", 0, 7) not in log.records
    known = adopted.known(HERS)
    assert known is not None
    assert list(known[0].runs()) == [Run(0, 0, 42)]
    assert known[1] == 0

    _, adopted = _handed_over(_log(mapped=True), ("A", ID))
    known = adopted.known(GoOn(0, OffsetPair(20, 25), mapped=True))
    assert known is not None
    assert list(known[0].runs()) == [Run(0, 5, 20)]
    assert known[1] == 3


@pytest.mark.parametrize("source", [("B", ID), ("A", OTHER_ID), ("A", bytes(16))])
def test_of_another_source_the_map_tells_nothing(source: tuple[str, bytes]) -> None:
    """Another cluster, another topic, or a cluster that does not tell."""
    record, adopted = _handed_over(_log(), source)
    assert adopted.known(HERS) is None
    assert not record.given_up
    assert record.managed == {"retention.ms": "1"}


def test_commits_of_groups_move_with_the_record() -> None:
    """What was committed for them is ours still; of other topics it stays the old owner's."""
    log = _log()
    t, u, v = (pb.GroupRecord.Topic(topic=name, partitions=[0], offsets=[5]) for name in "tuv")
    log.apply([state.put(state.group_key("old", "g"), pb.GroupRecord(topics=[t, u]))])
    log.apply([state.put(state.group_key("old", "h"), pb.GroupRecord(topics=[t]))])
    log.apply([state.put(state.group_key("new", "g"), pb.GroupRecord(topics=[v]))])
    adopted, record = AdoptedMirror(log.records, "old", "t"), pb.MirrorRecord(owner_flow_uid="new")
    log.apply(adopted.hand_over(log.records, record, ("A", ID)))

    def topics(uid: str, group: str) -> list[str]:
        raw = log.records.get(state.group_key(uid, group), b"")
        return [one.topic for one in pb.GroupRecord.FromString(raw).topics]

    assert (topics("old", "g"), topics("new", "g")) == (["u"], ["v", "t"])
    assert (topics("old", "h"), topics("new", "h")) == ([], ["t"])
    assert state.group_key("old", "h") not in log.records


def test_an_owner_that_is_faster_keeps_it() -> None:
    """What the plan was made from must still be so."""
    log = _log()
    adopted = AdoptedMirror(log.records, "old", "t")
    log.apply([state.put(state.mirror_key("old", "t"), pb.MirrorRecord(source_topic="t", generation=5))])
    with pytest.raises(Conflict, match="changed meanwhile"):
        adopted.hand_over(log.records, pb.MirrorRecord(), ("A", ID))


def test_whoever_lost_its_mirror_lets_go_of_it() -> None:
    """A daemon that was frozen while its mirror was adopted copies nothing to it any more, and records nothing."""
    log, flow = _log(), FlowSpec("a-to-c", "a", "c", Selection(()))
    a, c = (Cluster(ClusterSpec(alias, ((alias, 9092),))) for alias in ("a", "c"))
    owners = Owners(flow, "old", log, 30.0, lambda: 0.0)  # type: ignore[arg-type]
    sync = TopicSync(flow, "old", a, c, (None, None), log, owners)  # type: ignore[arg-type]
    copied = sync.mirrors["t"] = Mirror("t", "t", generation=4, partitions=1)
    assert sync.note_record(state.mirror_key("old", "t")) is None

    record, _ = _handed_over(log, ("B", ID))
    record.owner_flow_uid, record.owner_flow_name = "new", "b-to-c"
    log.apply([state.put(state.mirror_key("new", "t"), record)])
    assert sync.note_record(state.mirror_key("old", "t")) == "t"
    fault = sync.mirrors["t"].fault
    assert fault is not None
    assert fault.reason is Reason.OTHER_OWNER
    assert "flow b-to-c" in fault.text
    assert copied.fault is None
    sync.mirrors["t"] = copied  # as if its news came late
    assert sync.records._changes(sync.mirrors.values(), log.records) == []
