"""One partition's trouble, told in an answer beside others or met in a request beside them: they do not even notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replicator.core.copy.values import Phase
from replicator.engine.copy.partitions.fill_route import FillRoute
from replicator.engine.copy.pump import Pump
from replicator.engine.copy.reading.taking import ResponseHandler
from replicator.model.spec import Offsets
from replicator.wire.messages.data.markers import WRITE_TXN_MARKERS
from replicator.wire.messages.data.produce import ProduceCodec, Produced
from tests.copy_world.home import at_home
from tests.copy_world.lies import far_beyond
from tests.copy_world.rules import DOUBT_MS, SOUND, Rules, Violation
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend, begin
from tests.copy_world.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.core.copy.values import Ending
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.model.names import TopicPartition
    from replicator.wire.messages.data.fetch import Fetched
    from tests.copy_world.daemon import Daemon

_PARTITIONS = 3


def _work(world: World, daemon: Daemon) -> None:
    daemon.step_claim()
    world.settle()
    attend(world, daemon, *CONTROL, *FETCH, *PRODUCE, commits=True)
    world.check()
    world.advance(100)


def _displaced(world: World) -> None:
    """Let a marker land before the next batch."""
    world.current.haunted = True
    world.target.fill(world.target.term, world.target.fill_epoch, 1, world.now_ms, lambda *_: None)


def _overtaken(world: World) -> None:
    """Let retention take what was not read yet: the fetch that waits for it is answered so."""
    world.source.append(2, world.now_ms)
    world.source.append(1, world.now_ms)
    world.source.delete_records(world.source.end - 1)


def _too_large(world: World) -> None:
    world.source.append(1, world.now_ms, "too_large")


def _truncated(world: World) -> None:
    world.source.truncate(len(world.source.batches) - 1)


def _spoiled(world: World) -> None:
    world.source.append(1, world.now_ms)
    world.current.lie = (far_beyond, 0)


def _sent(world: World, *api_keys: int) -> None:
    """Go on until such a request is on its way."""
    (daemon,) = world.daemons
    for _ in range(200):
        if any(asked.api_key in api_keys for pipe in daemon.pipes for asked in pipe.undelivered):
            return
        for pipe in daemon.pipes_for(*CONTROL, *FETCH):
            if world.hear(pipe) or world.deliver(pipe):
                break
        else:
            world.advance(10)
    raise AssertionError("no such request")


def _leader_gone_before_a_batch(world: World) -> None:
    """Let another broker be elected while batches of all partitions are on their way in one request."""
    for _ in world.each():
        world.source.append(1, world.now_ms)
    _sent(world, 0)
    world.target.change_leader(5, 5, world.now_ms)


def _leader_gone_before_a_marker(world: World) -> None:
    """Let another broker be elected while markers of all partitions are on their way in one request."""
    for _ in world.each():
        world.source.append(1, world.now_ms, "control")
    _sent(world, WRITE_TXN_MARKERS)
    world.target.change_leader(5, 5, world.now_ms)


TROUBLES: dict[str, Callable[[World], None]] = {
    "a batch that landed further on": _displaced,
    "retention that overtook it": _overtaken,
    "a batch that is too large": _too_large,
    "another leader of its source": lambda world: world.source.bump_epoch(),
    "an unclean election": _truncated,
    "a spoiled answer": _spoiled,
    "another leader while a batch is on its way": _leader_gone_before_a_batch,
    "another leader while a marker is on its way": _leader_gone_before_a_marker,
}


def _beside(trouble: Callable[[World], None], rules: Rules = SOUND) -> None:
    """Let the first of several partitions of one broker have some trouble.

    Raises:
        Violation: Another one was attached again over it, or was not copied on meanwhile.
    """
    world = World(rules, _PARTITIONS, offsets=Offsets.AUTO)
    with at_home(world, 0):
        begin(world)
        (daemon,) = world.daemons
        for at in range(DOUBT_MS // 2_000):
            for _ in world.each():
                world.source.append(1, world.now_ms, "control" if at == DOUBT_MS // 4_000 else "")
            _work(world, daemon)
            world.advance(2_000)
        for _ in range(200):
            _work(world, daemon)
        episodes = [daemon.copy.episode for each in world.each() if daemon.copy.phase is Phase.COPYING]
        assert len(episodes) == _PARTITIONS
        assert [each.target.high_watermark for each in world.partitions] == [
            each.source.end for each in world.partitions
        ]
        trouble(world)
        for _ in world.each():
            world.source.append(1, world.now_ms)
        for _ in range(3):
            _work(world, daemon)
        for each in world.partitions[1:]:
            slot = daemon.slot_of(each.number)
            assert slot is not None
            if slot.copy.episode != episodes[each.number] or not slot.copy.is_copying():
                raise Violation(f"{each.number} was taken along: {slot.copy.phase} {slot.copy.detail}")
            if each.target.high_watermark != each.source.end:
                raise Violation(f"{each.number} was held up at {each.target.high_watermark} of {each.source.end}")


@pytest.mark.parametrize("name", TROUBLES)
def test_what_stops_one_partition_stops_no_other(name: str) -> None:
    """Nor is any other attached again, or held up for longer than an answer takes."""
    _beside(TROUBLES[name])


def _refuses_all(self: ResponseHandler, slot: Slot, fetched: Fetched) -> None:
    """Take what is said of one partition for said of the whole answer."""
    del slot
    for each in list(self._plan.slots.values()):
        _on_partition_error(self, each, fetched)


_on_partition_error = ResponseHandler._on_partition_error
_read_produced = ProduceCodec.answer
_fill_in_bulk = FillRoute.in_bulk
_ended = Pump.ended


def _refuses_the_request(self: ProduceCodec, *given: Any) -> list[Produced]:
    """Take the refusal of one batch for that of its request."""
    answered = _read_produced(self, *given)
    worst = max(each.error for each in answered)
    return [each._replace(error=worst) for each in answered]


async def _refuses_the_round(self: FillRoute, *given: Any) -> dict[TopicPartition, int]:
    """Take the refusal of one partition's markers for that of its round."""
    codes = await _fill_in_bulk(self, *given)
    return dict.fromkeys(codes, max(codes.values()))


def stops_all(self: Pump, slot: Slot, ending: Ending | None) -> None:
    """Stop all partitions of a topic with one of them."""
    _ended(self, slot, ending)
    if ending is not None and slot.copy.phase is Phase.FAULTED and slot.copy.reason is not None:
        for each in self.slots.values():
            _ended(self, each, each.copy.fault(slot.copy.reason, "as another of its topic"))


MUTANTS: dict[str, tuple[Rules, str]] = {
    "an error of one partition is one of the whole answer": (
        Rules(((ResponseHandler, "_on_partition_error", _refuses_all),)),
        "retention that overtook it",
    ),
    "a batch that is refused is a request that is refused": (
        Rules(((ProduceCodec, "answer", _refuses_the_request),)),
        "another leader while a batch is on its way",
    ),
    "markers that are refused are a round that is refused": (
        Rules(((FillRoute, "in_bulk", _refuses_the_round),)),
        "another leader while a marker is on its way",
    ),
    "a partition that stops is a topic that stops": (
        Rules(((Pump, "ended", stops_all),)),
        "a batch that is too large",
    ),
}
"""What is broken, and the trouble that shows it."""


@pytest.mark.parametrize("name", MUTANTS)
def test_taking_others_along_is_noticed(name: str) -> None:
    """A test that would let it pass would prove nothing."""
    rules, trouble = MUTANTS[name]

    with pytest.raises(Violation):
        _beside(TROUBLES[trouble], rules)
