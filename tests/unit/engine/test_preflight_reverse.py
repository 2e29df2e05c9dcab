"""What `validate --connect` says of a flow and its way back: the target of the one that stands by is the open side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.admin.topic_values import TopicConfig
from replicator.core.copy.attaching.facts import Role, Writer
from replicator.engine.preflight import facts, mirrors, reverse
from replicator.engine.state import records as state
from replicator.engine.state.topic.source import SourceState
from replicator.errors import AuthorizationFailed
from replicator.model.names import TopicPartition
from replicator.model.operations.report import Level
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Rename, Selection
from replicator.state_pb import state_pb2 as pb
from replicator.wire.messages import questions
from tests.unit.engine.test_chosen import Log, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.model.operations.report import Check

EVERY = Selection((Pattern(PatternKind.GLOB, "*"),))
FORTH = FlowSpec("e2w", "east", "west", EVERY)
BACK = FlowSpec("w2e", "west", "east", EVERY, reverse_of="e2w")


class Admin:
    """Tells no settings."""

    async def describe_configs(self, names: Iterable[str], _refused: object = None) -> dict[str, TopicConfig]:
        """Return what every topic has."""
        return {name: TopicConfig(name) for name in names}


class World:
    """Two clusters, what is recorded on each of them, and two flows that are each other's way back."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sides = {alias: Side(alias) for alias in ("east", "west")}
        self.logs = {alias: Log() for alias in self.sides}
        self.unreadable: set[str] = set()
        self.forth, self.back = FORTH, BACK
        self.end = 10

        async def read(there: SourceState) -> Mapping[bytes, bytes]:
            alias = there.cluster.spec.alias
            if alias in self.unreadable:
                raise AuthorizationFailed("replicator.state may not be read", cluster=alias)
            return self.logs[alias].records

        async def offsets(_cluster: Any, parts: Iterable[TopicPartition], _when: int) -> dict[TopicPartition, Any]:
            return {where: questions.Found(self.end, -1) for where in parts}

        async def nothing(*_: object) -> dict[str, str]:
            return {}

        patch.setattr(SourceState, "read", read)
        patch.setattr(questions, "offsets_at", offsets)
        patch.setattr(questions, "creation_refusals", nothing)

    def add(self, *topics: str) -> None:
        """Create topics on both sides."""
        for side in self.sides.values():
            side.add(*topics)

    def start(self, flow: FlowSpec, role: Role) -> None:
        """Let a flow be recorded on its target."""
        log = self.logs[flow.target]
        record = pb.FlowRecord(
            uid=flow.name,
            name=flow.name,
            source_cluster_id=flow.source.upper(),
            target_cluster_id=flow.target.upper(),
        )
        log.apply(state.flow_key(flow.name), record)
        log.apply(state.writer_key(flow.name), state.writer_record(Writer(7, 0, role, 8, 0, 9)))

    def mirror(self, flow: FlowSpec, topic: str, target: str | None = None) -> None:
        """Let a flow have a mirror."""
        target = target or topic
        record = pb.MirrorRecord(
            source_topic=topic,
            target_topic=target,
            source_topic_id=self.sides[flow.source].topics[topic].topic_id,
            target_topic_id=self.sides[flow.target].topics[target].topic_id,
            owner_flow_uid=flow.name,
            owner_flow_name=flow.name,
        )
        self.logs[flow.target].apply(state.mirror_key(flow.name, target), record)

    async def checks(self, name: str) -> list[Check]:
        """Return what is said of the mirrors of one flow."""
        sides = {
            alias: facts.Side(side.spec, side, cast("Any", Admin()), reached=True) for alias, side in self.sides.items()
        }
        specs = (self.forth, self.back)
        spec = next(one for one in specs if one.name == name)
        flow = facts.Flow(spec, sides[spec.source], sides[spec.target], counterpart=reverse.counterpart_of(spec, specs))
        flow.names = sorted(self.sides[spec.source].topics)
        flow.records = self.logs[spec.target].records
        flow.record = state.find_flow(flow.records, name, spec.source.upper(), spec.target.upper())
        await mirrors.mirrors(flow)
        return [check for check in flow.checks if check.name != "create"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a pair of which nothing was switched yet, with one topic that is mirrored."""
    made = World(monkeypatch)
    made.add("t")
    made.start(FORTH, Role.COPYING)
    made.start(BACK, Role.PROMOTED)
    made.mirror(FORTH, "t")
    return made


def failed(checks: list[Check]) -> list[Check]:
    """Return what is red."""
    return [check for check in checks if check.level is Level.FAIL]


async def test_a_healthy_pair_before_a_switch(world: World) -> None:
    """The way back would take over what its counterpart mirrors: no circle, whether its daemon ever ran or not."""
    assert failed(await world.checks("e2w")) == []
    for _ in range(2):
        (told,) = await world.checks("w2e")
        assert (told.level, told.text) == (Level.OK, "standby: at a switch it takes over 1 topic from flow e2w")
        world.logs["east"].records.clear()


async def test_a_healthy_pair_after_a_switch(world: World) -> None:
    """The same with both sides swapped, also of a topic that came since and that only the way back mirrors."""
    world.start(FORTH, Role.PROMOTED)
    world.start(BACK, Role.COPYING)
    world.add("since")
    world.mirror(BACK, "t")
    world.mirror(BACK, "since")
    for name in ("e2w", "w2e"):
        assert failed(await world.checks(name)) == []
    assert any("takes over 2 topics from flow w2e" in check.text for check in await world.checks("e2w"))


async def test_topics_that_were_switched_alone(world: World) -> None:
    """One stands by on either side, the other is copied."""
    world.add("alone")
    world.mirror(FORTH, "alone")
    world.mirror(BACK, "alone")
    for flow, role in ((FORTH, pb.WRITER_ROLE_PROMOTED), (BACK, pb.WRITER_ROLE_COPYING)):
        own = pb.WriterRecord(role=role, epoch=1)
        world.logs[flow.target].apply(state.writer_key(flow.name, "alone"), own)
    for name in ("e2w", "w2e"):
        checks = await world.checks(name)
        assert failed(checks) == []
        assert any("takes over 1 topic from" in check.text for check in checks)
        assert any("1 topic already copied by this flow" in check.text for check in checks)


async def test_a_source_on_which_nothing_is_recorded(world: World) -> None:
    """What is not mirrored yet is told, and nobody is advised to delete anything of the open side."""
    world.logs["west"].records.clear()
    (told,) = await world.checks("w2e")
    assert told.level is Level.WARN
    assert "flow e2w has no mirror of t yet" in told.text
    assert "delete" not in told.fix
    (red,) = failed(await world.checks("e2w"))
    assert "foreign_writer" in red.text


async def test_a_state_topic_that_may_not_be_read_reddens_nothing(world: World) -> None:
    """It is said once."""
    world.unreadable.add("west")
    assert [check.name for check in await world.checks("w2e")] == ["copies"]


async def test_a_stranger_on_the_open_side_is_still_found(world: World) -> None:
    """A topic that the counterpart does not copy would stop the way back; it do not delete it."""
    world.add("x")
    world.forth = FlowSpec("e2w", "east", "west", Selection((Pattern(PatternKind.GLOB, "t"),)))
    (red,) = failed(await world.checks("w2e"))
    assert "x on east, the open side" in red.text
    assert "flow e2w does not copy it" in red.text
    assert "do not delete it" in red.fix


async def test_another_topic_of_the_name_is_not_taken_over(world: World) -> None:
    """One that was deleted and created again is not the topic that the counterpart has mirrored."""
    world.sides["east"].add("other")
    world.sides["east"].topics["t"] = replace(world.sides["east"].topics.pop("other"), name="t")
    (told,) = await world.checks("w2e")
    assert told.level is Level.WARN
    assert "deleted and created again" in told.text
    assert failed(await world.checks("e2w")), "the flow that mirrors it says what helps"


async def test_a_mirror_under_another_name_leads_nowhere(world: World) -> None:
    """Two topics would be merged after a switch: the names are to be corrected, not the flow that copies."""
    world.forth = FlowSpec("e2w", "east", "west", EVERY, rename=Rename(prefix="east."))
    west = world.sides["west"]
    west.add("east.t")
    world.logs["west"].records.pop(state.mirror_key("e2w", "t"))
    world.mirror(FORTH, "t", "east.t")
    (red,) = failed(await world.checks("w2e"))
    assert "t on the target is itself the source of east.t on the source" in red.text
    assert "forget" not in red.fix
    assert "topics.rename" in red.fix


async def test_swapped_sides_are_still_found(world: World) -> None:
    """A flow that is nobody's way back would copy in a circle."""
    world.back = FlowSpec("w2e", "west", "east", EVERY)
    world.logs["east"].records.clear()
    (red,) = failed(await world.checks("w2e"))
    assert "copying it back would go in a circle" in red.text


async def test_an_open_side_that_differs_for_now(world: World) -> None:
    """Partitions that were added since it was opened are no fault: nothing is copied there."""
    world.start(FORTH, Role.PROMOTED)
    world.back = FlowSpec("other", "west", "east", EVERY)
    world.sides["west"].add("t", partitions=3)
    checks = await world.checks("e2w")
    assert failed(checks) == []
    assert any("standby for now; as it is, it would stop as partition_count" in check.fix for check in checks)
