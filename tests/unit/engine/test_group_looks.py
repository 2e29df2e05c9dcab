"""What is told of groups while their source cannot be read: real rounds over sides that answer, or do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.status.lag import FRESH_SECONDS
from replicator.engine.groups.sides import SideView
from replicator.engine.groups.sync import GroupSync
from replicator.errors import ConnectionFailed
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Selection
from replicator.model.spec import GroupSync as Policy
from replicator.model.status.groups import Committed, GroupKind, Listed
from replicator.wire.cluster import Cluster
from tests.lease_world import Topic, View
from tests.unit.engine.test_group_status import COPY, MARKERS, ORDERS, FakePositions

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import StateLog

ALL = Selection((Pattern(PatternKind.GLOB, "*"),))
FLOW = FlowSpec("f", "east", "west", ALL, group_sync=Policy(ALL, 0.01))
GROUP = "billing"


class World:
    """The groups of a flow, and both sides as they answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.there: SideView | None = SideView(
            listed={GROUP: Listed(GroupKind.CLASSIC, "Empty")}, commits={GROUP: {ORDERS: Committed(50)}}
        )
        here = SideView(commits={GROUP: {COPY: Committed(50 - MARKERS - 2)}})
        east, west = (Cluster(ClusterSpec(alias, (("127.0.0.1", 1),))) for alias in ("east", "west"))
        self.sync = GroupSync(
            FLOW,
            "uid",
            east,
            west,
            cast("Any", FakePositions()),
            state_log=cast("StateLog", View(Topic())),
            may_write=lambda: False,
        )

        async def read(*_: object) -> SideView:
            if self.there is None:
                raise ConnectionFailed("no answer", cluster="east")
            return self.there

        async def look(*_: object) -> SideView:
            return here

        async def nothing(*_: object, **__: object) -> Any:
            return {}, {}

        monkeypatch.setattr(self.sync._source, "read", read)
        monkeypatch.setattr(self.sync._target, "find", look)
        monkeypatch.setattr(east, "refresh", nothing)
        monkeypatch.setattr("replicator.engine.groups.sync.ends_of", nothing)
        monkeypatch.setattr(self.sync, "_now", lambda: self.now)


async def test_what_would_be_read_again_is_unknown_once_the_source_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its groups go on there, and what they commit by now nobody knows."""
    world = World(monkeypatch)
    await world.sync.round()
    assert [one.reread_records for one in world.sync.statuses()] == [2]
    world.there = None
    world.now += FRESH_SECONDS + 1.0
    with pytest.raises(ConnectionFailed):
        await world.sync.round()
    (told,) = world.sync.statuses()
    assert (told.reread_records, [one.reread_records for one in told.partitions]) == (None, [None])
    assert (told.detail or "").endswith("as seen 16.0s ago")
    assert world.sync.is_known


async def test_no_groups_are_not_known_while_the_source_was_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the target alone knows of those that were written before, and of no others."""
    world = World(monkeypatch)
    world.there = None
    with pytest.raises(ConnectionFailed):
        await world.sync.round()
    assert not world.sync.is_known
