"""Whether a target shows markers of ours, proven on our own topic: before the first fill, and before any fence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.engine.copy.partitions import fill_route
from replicator.engine.copy.partitions.fill_route import FillRoute
from replicator.engine.copy.partitions.producer_state import ShardProducer
from replicator.engine.copy.writing.filler import Filler
from replicator.engine.preflight import check as preflight
from replicator.engine.state import records as state
from replicator.engine.state.ownership import shown_markers
from replicator.engine.state.ownership.shown_markers import Shown, shown_after_one, shown_by_now
from replicator.engine.switch.steps.close_source import CloseSource
from replicator.errors import Conflict, KafkaError, MarkersNotShown
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Verb
from replicator.state_pb import state_pb2 as pb
from replicator.wire.messages import control
from replicator.wire.messages.control import ProducerEntry
from replicator.wire.messages.data.transactions import ProducerIdentity
from tests.unit.engine.test_bugs_of_partitions import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA, FILLS, STATE = 100, 55, TopicPartition(STATE_TOPIC, 0)


class Target:
    """A cluster with a state topic, which may tell less of what is written to it than Apache Kafka does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spec = SimpleNamespace(alias="west")
        self.topic_ids: dict[str, bytes] = {}
        self.markers: list[int] = []
        self.tells_of_producers: bool | None = True
        self.keeps_markers = self.lands = self.allowed = True
        self.now = 0.0
        monkeypatch.setattr(control, "describe_producers", self._describe)
        monkeypatch.setattr(shown_markers, "empty_transaction", self._write)
        monkeypatch.setattr(shown_markers, "init_producer_id", self._init)
        monkeypatch.setattr(fill_route, "init_producer_id", self._init)
        monkeypatch.setattr(shown_markers, "offsets_of", self._offsets)
        monkeypatch.setattr(shown_markers, "batches_between", self._batches)
        for name in ("_POLL_SECONDS", "_POLL_SECONDS_MAX"):
            monkeypatch.setattr(shown_markers, name, 0.0)

    async def leader_connection(self, where: TopicPartition) -> None:
        """Return whoever leads the state topic."""
        assert where == STATE

    async def _describe(self, *_: object) -> dict[TopicPartition, tuple[int, tuple[ProducerEntry, ...]]] | None:
        if self.tells_of_producers is None:
            return None
        told = self.markers if self.tells_of_producers else []
        return {STATE: (0, tuple(ProducerEntry(number, 3, -1, 0, -1) for number in told))}

    async def _init(self, *_: object) -> ProducerIdentity:
        if not self.lands:
            raise KafkaError("its transaction is not complete", cluster="west", retryable=True)
        return ProducerIdentity(FILLS, 1)

    async def _write(self, _: object, _id: str, identity: ProducerIdentity) -> None:
        if not self.allowed:
            raise Conflict("the id has another epoch by now")
        if self.lands:
            self.markers.append(identity.producer_id)

    async def _offsets(self, _: object, _where: object, which: int) -> dict[TopicPartition, int]:
        return {STATE: 0 if which == control.EARLIEST else len(self.markers)}

    async def _batches(
        self, _s: object, _c: object, _w: object, begin: int, end: int, **_kept: object
    ) -> AsyncIterator[tuple[None, Any, bool]]:
        for number in self.markers[begin:end] if self.keeps_markers else []:
            yield None, SimpleNamespace(is_control=True, producer_id=number), False

    def route(self) -> FillRoute:
        """Return the way of markers to it."""
        return FillRoute(cast("Any", self), "fills", FILLS, lambda: self.now)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Target:
    """A target like Apache Kafka's."""
    return Target(monkeypatch)


def records() -> dict[bytes, bytes]:
    """Return what is recorded of a flow."""
    key, raw = state.put(state.writer_key("uid"), pb.WriterRecord(producer_id=DATA, epoch=3))
    assert raw is not None
    return {key: raw}


# -- before the first fill ---------------------------------------------------------------------------------------------


async def test_a_marker_is_seen_before_a_partition_is_filled(target: Target) -> None:
    """Once: the next holder of the claim in this daemon goes by it."""
    route = target.route()
    for number in (1, 2):
        await route.prepare(number)
    assert target.markers == [FILLS]


async def test_a_log_without_its_markers_is_not_filled(target: Target) -> None:
    """Nothing tells how much of a fill stands there; it is tried again later, not with every round."""
    target.keeps_markers = False
    route = target.route()
    for _ in range(3):
        with pytest.raises(MarkersNotShown, match="is not in its log"):
            await route.prepare(1)
    assert target.markers == [FILLS]
    target.keeps_markers = True
    with pytest.raises(MarkersNotShown):
        await route.prepare(1)
    target.now = 601.0
    await route.prepare(1)
    await route.prepare(1)
    assert target.markers == [FILLS, FILLS]


async def test_a_marker_that_lands_late_is_no_finding(target: Target) -> None:
    """A leader that moves may take a while."""
    route = target.route()
    await route.prepare(1)
    target.markers.clear()
    other = target.route()
    target.lands = False
    with pytest.raises(KafkaError, match="not complete") as caught:
        await other.prepare(1)
    assert not isinstance(caught.value, MarkersNotShown)


async def test_a_target_that_cannot_be_fenced_is_filled(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy needs no more than the log; that it cannot be switched is said at the first start."""
    target.tells_of_producers = False
    await target.route().prepare(1)
    assert "this target cannot be fenced" in capsys.readouterr().err
    target.tells_of_producers = None
    await target.route().prepare(1)
    assert "this target cannot be fenced" not in capsys.readouterr().err


async def test_partitions_go_over_to_mapped_offsets_there(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no marker may be written; nothing was appended to them."""
    target.keeps_markers = False
    world = World()
    world.producers[world.shard] = ShardProducer(cast("Any", None), target.route())
    monkeypatch.setattr("replicator.engine.copy.writing.filler._is_ours", lambda *_: True)
    told: list[tuple[int, str]] = []
    monkeypatch.setattr(world.pump, "ended", lambda slot, _: told.append((slot.source.partition, slot.copy.detail)))
    monkeypatch.setattr(world.pump, "rest", lambda slot, why, _: told.append((slot.source.partition, why)))
    filler = Filler(world.pump.context, world.pump, 1)
    for slot in world.slots:
        filler.add(slot)
    await world.rest()
    assert sorted(number for number, _ in told) == [0, 1]
    assert all("is not in its log" in why for _, why in told)


# -- before a fence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markers", "tells", "found"),
    [
        ([], True, (Shown.UNKNOWN, False)),
        ([DATA], True, (Shown.YES, True)),
        ([DATA], False, (Shown.NO, True)),
        ([7], False, (Shown.UNKNOWN, False)),
        ([DATA], None, (Shown.NOT_OFFERED, True)),
    ],
)
async def test_what_can_be_told_without_writing(
    target: Target,
    markers: list[int],
    tells: bool | None,  # noqa: FBT001 - a case
    found: tuple[Shown, bool],
) -> None:
    """`validate` writes nothing; that a marker of ours stands has to be seen before its absence means anything."""
    target.markers, target.tells_of_producers = markers, tells
    assert await shown_by_now(cast("Any", target), DATA) == found
    assert target.markers == markers


async def test_a_flow_that_never_started_is_not_called_ok() -> None:
    """No topic of ours is there to be asked about."""
    assert await preflight._marker_shown(cast("Any", SimpleNamespace(record=None))) == (Shown.UNKNOWN, False)


async def test_a_rehearsal_proves_it_with_one_marker(target: Target) -> None:
    """On our own topic, and only where none is shown already."""
    assert await shown_after_one(cast("Any", target), records(), "uid") is Shown.YES
    assert await shown_after_one(cast("Any", target), records(), "uid") is Shown.YES
    assert target.markers == [DATA]
    assert await shown_after_one(cast("Any", target), {}, "uid") is Shown.UNKNOWN
    target.tells_of_producers = False
    assert await shown_after_one(cast("Any", target), records(), "uid") is Shown.NO
    target.allowed = False
    assert await shown_after_one(cast("Any", target), records(), "uid") is Shown.UNKNOWN


async def test_a_switch_does_not_begin_where_no_fence_could_be_seen(target: Target) -> None:
    """A dry run says so as well; where it is only not known yet, the switch proves it before its fence."""
    context = SimpleNamespace(
        target=target,
        uid="uid",
        log=SimpleNamespace(records=records()),
        flow=SimpleNamespace(name="f", both_ways=False, target="west"),
    )
    closing = CloseSource(cast("Any", context), cast("Any", None), cast("Any", None))
    assert await closing.problems(Journal("f", Verb.FAILOVER)) == []
    target.tells_of_producers = False
    (found,) = await closing.problems(Journal("f", Verb.FAILOVER))
    assert "does not report a producer that wrote a marker" in found
    target.markers.clear()
    target.lands = False
    assert await closing.problems(Journal("f", Verb.FAILOVER)) == []
