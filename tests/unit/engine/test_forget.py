"""What is recorded of a mirror is removed once it is not copied any more: all of it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.switch.forgetting import check_flow
from replicator.engine.flow.forget import forget_mirror
from replicator.engine.state import records as state
from replicator.engine.state.cuts import put_cuts
from replicator.engine.state.journal import put_switches
from replicator.engine.state.topic.index import parse_key
from replicator.engine.work import roles
from replicator.errors import Conflict, PreflightFailed
from replicator.model.operations.forget import Forgotten
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Cut, Verb
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import Change, StateLog

UID = "uid"
FLOW = ("orders-dr", UID)
PROMOTED = pb.WRITER_ROLE_PROMOTED


class Log:
    """A state topic that is a table: a flow of two mirrors, and another flow with one of the same name."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        for uid in (UID, "other"):
            self.apply([state.put(state.flow_key(uid), pb.FlowRecord(uid=uid, name=uid, target_alias="west"))])
            writer = state.writer_record(Writer(7, 0, Role.COPYING, 8, 0, 9))
            self.apply([state.put(state.writer_key(uid), writer)])
            for topic in ("a", "b"):
                record = pb.MirrorRecord(owner_flow_uid=uid, source_topic=topic, target_topic=f"east.{topic}")
                self.apply([state.put(state.mirror_key(uid, f"east.{topic}"), record)])
                for block in (1, 2):
                    key = state.segment_key(uid, f"east.{topic}", 0, block)
                    self.apply([state.put(key, pb.SegmentBlock())])
        self.apply([state.put(state.writer_key(UID, "east.a"), pb.WriterRecord(epoch=3))])
        self.apply(put_cuts(UID, "s", 3, [Cut("a", 0, 5, 5, "east.a")], 1))

    def apply(self, changes: list[Change]) -> None:
        """Write changes."""
        for key, value in changes:
            if value is None:
                del self.records[key]
            else:
                self.records[key] = value

    async def read_to_end(self) -> None:
        """It is read."""

    async def change(self, _uid: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]) -> None:
        """Compare and set."""
        self.apply(decide(self.records))

    async def forget(
        self, topic: str, *, selected: bool = True, there: bool | None = False, dry_run: bool = False
    ) -> Forgotten:
        """Forget a mirror whose source is gone, unless told otherwise."""
        return await forget_mirror(cast("StateLog", self), FLOW, topic, selected=selected, there=there, dry_run=dry_run)


async def test_all_of_a_mirror_and_nothing_else() -> None:
    """Its record, map, role and cut go; those of the other mirror, and of another flow of that topic, stay."""
    log = Log()
    before = dict(log.records)
    told = await log.forget("a", dry_run=True)
    assert log.records == before
    assert await log.forget("a") == told
    assert told.records == 4
    gone = [parse_key(key) for key in before.keys() - log.records.keys()]
    assert {(one.flow_uid, one.topic) for one in gone if one is not None} == {(UID, "east.a")}
    assert "topic east.a on west, with its records and settings" in told.left_behind
    assert await log.forget("a") == Forgotten()


async def test_no_epoch_is_used_again() -> None:
    """Partitions of a mirror that was switched alone were fenced with its own: should it come back, that counts."""
    log = Log()
    log.apply([state.put(state.writer_key(UID, "east.a"), pb.WriterRecord(role=PROMOTED, epoch=2, fence_epoch=3))])
    await log.forget("a")
    writers = state.writers_of(log.records, UID)
    assert writers is not None
    assert (writers.of("east.a").producer_epoch, writers.of("east.a").role) == (3, Role.COPYING)

    epoch, changes = roles.begun(log.records, UID, None)
    log.apply(changes)
    assert epoch == 4
    log.apply(roles.promoted(log.records, UID, epoch))
    log.apply(roles.copying(log.records, UID, epoch, alone=False))
    writers = state.writers_of(log.records, UID)
    assert writers is not None
    assert writers.of("east.a").producer_epoch == 3, "it was no part of that fence"
    assert writers.of("east.b").producer_epoch == 4


async def test_what_says_no_more_than_the_flow_goes() -> None:
    """Nothing is left of a mirror whose epoch is the flow's."""
    log = Log()
    log.apply([state.put(state.writer_key(UID, "east.a"), pb.WriterRecord(role=PROMOTED, epoch=0))])
    assert (await log.forget("a")).records == 5
    assert not state.own_writers(log.records, UID)


@pytest.mark.parametrize(("selected", "there"), [(True, True), (True, None)])
async def test_what_is_copied_or_may_be_is_refused(*, selected: bool, there: bool | None) -> None:
    """Unknown is not gone."""
    log = Log()
    before = dict(log.records)
    with pytest.raises(PreflightFailed):
        await log.forget("a", selected=selected, there=there)
    assert log.records == before
    assert (await log.forget("a", selected=False, there=None)).records


async def test_what_is_not_ours_is_refused() -> None:
    """A record under our uid that names another owner."""
    log = Log()
    record = pb.MirrorRecord(owner_flow_uid="other", source_topic="a", target_topic="east.a")
    log.apply([state.put(state.mirror_key(UID, "east.a"), record)])
    with pytest.raises(PreflightFailed):
        await log.forget("a")


async def test_not_while_a_switch_is_under_way() -> None:
    """It may be about that very mirror."""
    log = Log()
    log.apply(put_switches(UID, Switches(Journal("s", Verb.SWITCHOVER))))
    with pytest.raises(Conflict):
        await log.forget("a")


def test_whether_a_flow_may_be_forgotten() -> None:
    """Not while anybody runs it, or a switch is under way."""
    check_flow("f", in_file=False, running=None, active=())
    with pytest.raises(PreflightFailed):
        check_flow("f", in_file=True, running=None, active=())
    with pytest.raises(Conflict):
        check_flow("f", in_file=False, running=Journal("s", Verb.FAILOVER), active=())
    with pytest.raises(Conflict):
        check_flow("f", in_file=False, running=None, active=("west-1",))
