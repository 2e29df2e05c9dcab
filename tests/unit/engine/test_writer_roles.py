"""Who may write to each mirror: switches of the whole flow and of chosen mirrors, in any order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.engine.state import records as state
from replicator.engine.switch.context import mirrors_in
from replicator.engine.work import roles
from replicator.errors import Conflict, PreflightFailed
from replicator.model.switch.terms import LeftOutMirror, LeftOutReason, Scope
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import Change

UID = "uid"
TOPICS = ("a", "b", "c")
NOBODY: Mapping[str, bool] = {}
MINTED = Writer(7, 0, Role.COPYING, 8, 0, 9)


@dataclass
class World:
    """A flow of three mirrors, and the epoch that the partitions of each show."""

    records: dict[bytes, bytes] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOPICS, 0))
    away: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.apply([state.put(state.writer_key(UID), state.writer_record(MINTED))])
        for topic in TOPICS:
            record = pb.MirrorRecord(source_topic=topic, target_topic=topic)
            self.apply([state.put(state.mirror_key(UID, topic), record)])

    def apply(self, changes: list[Change]) -> None:
        """Write changes."""
        for key, value in changes:
            if value is None:
                del self.records[key]
            else:
                self.records[key] = value

    def flow_is_away(self) -> bool:
        """Return whether the flow as a whole was switched."""
        return state.get_writer_record(self.records, UID).role == pb.WRITER_ROLE_PROMOTED

    def switch(
        self, topics: Collection[str], *, least: int | None, back: bool, left_out: Mapping[str, bool] = NOBODY
    ) -> None:
        """Fence some mirrors, or all that follow the flow but some; open them, or turn back."""
        named: list[str] | None = None
        if topics:
            named, left_out = sorted(set(topics) - self.away), NOBODY
            if not named:
                return
        elif self.flow_is_away():
            return
        left_out = {topic: copies for topic, copies in left_out.items() if topic not in self.away}
        meant = Scope(left_out=tuple(LeftOutMirror(topic, LeftOutReason.SWITCHED_ALONE) for topic in left_out))
        scope = named or [one.target_topic for one in mirrors_in(self.records, UID, meant)]
        epoch, changes = roles.begun(self.records, UID, least, named, left_out)
        assert epoch > max(self.shown.values()), "an epoch that stands somewhere already"
        self.apply(changes)
        assert roles.begun(self.records, UID, None, named, left_out) == (epoch, []), "the second executor"
        assert [self._role(topic) for topic in scope] == [Role.FENCING] * len(scope)
        self._check_left_out(left_out)
        self.shown.update(dict.fromkeys(scope, epoch))
        if back:
            alone = named is not None
            self._twice(lambda: roles.copying(self.records, UID, epoch, named or (), alone=alone, left_out=left_out))
        else:
            self._twice(lambda: roles.promoted(self.records, UID, epoch, named, left_out))
            self.away |= {*scope, *(topic for topic, copies in left_out.items() if not copies)}
        self._check_left_out(left_out)

    def _check_left_out(self, left_out: Mapping[str, bool]) -> None:
        writers = state.writers_of(self.records, UID)
        assert writers is not None
        for topic, copies in left_out.items():
            self._check_epoch(writers.of(topic), topic)
            assert writers.copies(topic) or not copies, topic

    def _check_epoch(self, writer: Writer, topic: str) -> None:
        """What partitions show is the very epoch, or one from which the copy goes on since the flow was moved."""
        shown = self.shown[topic]
        assert writer.producer_epoch == shown or writer.may_go_on_from(shown), topic

    def move(self, written: Collection[str], *, least: int | None) -> None:
        """Move the flow to another source; of its mirrors some are written to under the new epoch."""
        before = max(self.shown.values())
        if self.away or self.flow_is_away():
            with pytest.raises(PreflightFailed):
                roles.moved_writers(self.records, UID, least, 1)
            return
        self.apply(roles.moved_writers(self.records, UID, least, 1))
        writers = state.writers_of(self.records, UID)
        assert writers is not None
        assert not writers.own, "each partition has the flow's epoch from its next batch on"
        assert writers.flow.producer_epoch > before
        for topic in TOPICS:
            self._check_epoch(writers.flow, topic)
        self.shown.update(dict.fromkeys(written, writers.flow.producer_epoch))

    def take_all_back(self) -> None:
        """Copy to the whole flow again, also to what had been opened alone: the other flow had it all by then."""
        if self.flow_is_away():
            self._twice(lambda: roles.copying(self.records, UID, 0, sorted(self.away), alone=False))
            self.away.clear()

    def take_back(self, topics: Collection[str]) -> None:
        """Copy to mirrors again that had been opened, alone or with the whole flow."""
        alone = bool(topics)
        if not alone:
            if not self.flow_is_away():
                return
            topics = [one.target_topic for one in mirrors_in(self.records, UID, Scope())]
        topics = sorted(set(topics) & self.away)
        if alone and not topics:
            return
        self._twice(lambda: roles.copying(self.records, UID, 0, topics, alone=alone))
        self.away -= set(topics)

    def _twice(self, change: object) -> None:
        assert callable(change)
        self.apply(change())
        assert change() == [], "the second executor"

    def _role(self, topic: str) -> Role:
        writers = state.writers_of(self.records, UID)
        assert writers is not None
        return writers.of(topic).role

    def check(self) -> None:
        """What is copied to is written with the very epoch that its partitions show, or the broker would refuse it."""
        writers = state.writers_of(self.records, UID)
        assert writers is not None
        for topic in TOPICS:
            assert writers.copies(topic) is (topic not in self.away), topic
            if writers.copies(topic):
                self._check_epoch(writers.of(topic), topic)
        assert writers.any_copies is (self.away != set(TOPICS) or not self.flow_is_away())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["switch", "back", "take_back", "take_all_back", "move"]),
        st.sets(st.sampled_from(TOPICS)),
        st.booleans(),
        st.dictionaries(st.sampled_from(TOPICS), st.booleans(), max_size=2),
    ),
    max_size=12,
)


@given(STEPS)
def test_any_order_of_switches(steps: list[tuple[str, set[str], bool, dict[str, bool]]]) -> None:
    """Whole, whole but some, and alone; there and back; moved to another source; with markers in bulk or without."""
    world = World()
    coordinator = 0
    for verb, topics, by_coordinator, left_out in steps:
        least = None
        if by_coordinator:
            coordinator = max(coordinator, *world.shown.values()) + 2
            least = coordinator
        if verb == "take_all_back":
            world.take_all_back()
        elif verb == "move":
            world.move(topics, least=least)
        elif verb == "take_back":
            world.take_back(topics)
        else:
            world.switch(topics, least=least, back=verb == "back", left_out=left_out)
        world.check()


def test_a_mirror_that_comes_back_alone_keeps_its_own_epoch() -> None:
    """Its flow was fenced with a higher one meanwhile, which its partitions never saw."""
    world = World()
    world.switch({"a"}, least=None, back=False)
    world.switch((), least=None, back=False)
    world.take_back({"a"})
    writers = state.writers_of(world.records, UID)
    assert writers is not None
    assert (writers.flow.producer_epoch, writers.of("a").producer_epoch) == (2, 1)
    assert (writers.flow.role, writers.of("a").role) == (Role.PROMOTED, Role.COPYING)


def test_the_id_is_kept_alive_with_the_epoch_that_its_coordinator_has() -> None:
    """Markers in bulk raise nothing there; those by transactions do."""
    world = World()
    world.switch({"a"}, least=None, back=True)
    assert state.get_writer_record(world.records, UID).coordinator_epoch == 0
    world.switch((), least=5, back=True)
    assert state.get_writer_record(world.records, UID).coordinator_epoch == 5
    world.switch({"b"}, least=None, back=True)
    assert state.get_writer_record(world.records, UID).coordinator_epoch == 5


def test_only_what_is_behind_its_fence_is_opened() -> None:
    """Another epoch, or another topic, is another fence."""
    world = World()
    epoch, changes = roles.begun(world.records, UID, None, ["a"])
    world.apply(changes)
    for where, wrong in ((["a"], epoch + 1), (["a", "b"], epoch), (None, epoch)):
        with pytest.raises(Conflict):
            roles.promoted(world.records, UID, wrong, where)


def test_no_topic_is_not_every_topic() -> None:
    """Where none of the topics that were named is left, nothing of the flow is fenced."""
    world = World()
    with pytest.raises(PreflightFailed):
        roles.begun(world.records, UID, None, [])
    assert roles.copying(world.records, UID, 5, [], alone=True) == []


def test_nobody_writes_to_a_flow_that_was_never_minted() -> None:
    """Then there is nothing to ask about."""
    none: Mapping[bytes, bytes] = {}
    assert state.writers_of(none, UID) is None
