"""Copies into logs that others write to as well (`loop_guard: origin`): nothing lost, doubled, or taken for ours."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from replicator.core.copy import lifecycle
from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.facts import Decision, Remap, Resume, SourceLog, TargetLog, Writer
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.track import Track
from replicator.core.copy.values import Ending
from replicator.core.copy.writing.sending import Sending
from replicator.engine.copy import pump
from replicator.engine.copy.attaching import attacher
from replicator.engine.copy.partitions.live_maps import OffsetMaps
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.logs.choosing import OnlyOurs
from replicator.model.spec import Offsets
from tests.copy_world.histories import first_violation, run_history
from tests.copy_world.rules import Rules
from tests.copy_world.target_log import ALIEN_RECORD

_SHORT = range(15)
_LONG = range(100_000, 105_000)
_SEEDS = range(4000)
_NEAR = 40


@pytest.mark.parametrize("backlog", [False, True], ids=["all kinds", "old record times"])
def test_seeded_histories_keep_the_copy_exact(*, backlog: bool) -> None:
    """Invariant after every event, equality after every storm."""
    for seed in _SHORT:
        run_history(seed, backlog=backlog, offsets=Offsets.MAPPED, shared=True)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backlog", [False, True], ids=["all kinds", "old record times"])
def test_many_seeded_histories_keep_the_copy_exact(*, backlog: bool) -> None:
    """The same, many more and longer."""
    for seed in _LONG:
        run_history(seed, steps=150, backlog=backlog, offsets=Offsets.MAPPED, shared=True)


def test_histories_mix_records_of_ours_with_those_of_others() -> None:
    """A simulation in which the two never meet would prove nothing."""
    met = copied = 0
    for seed in _SHORT:
        world = run_history(seed, offsets=Offsets.MAPPED, shared=True)
        ours = [record != ALIEN_RECORD for _, record in world.target.data()]
        copied += sum(ours)
        met += sum(one is not other for one, other in itertools.pairwise(ours))

    assert copied > 40
    assert met > 8


class _ForgetsTheDrift(Track):
    """Takes what follows a batch that landed behind others for where it was queued."""

    __slots__ = ()

    def land_behind_others(self, target: int, length: int) -> int:
        """Forget how many there were."""
        source = super().land_behind_others(target, length)
        self._drift = 0
        return source


class _LandsWithDrift(PartitionCopy):
    """Uses the track above."""

    __slots__ = ()

    def resume(self, decision: Resume, source_epoch: int = -1) -> Ending | None:
        """Exchange the track."""
        if self.track is not None:
            self.track = _ForgetsTheDrift(self.track.offsets, mapped=True)
        return super().resume(decision, source_epoch)


class _TrustsAnEmptyLog(Sending):
    """Takes the first batch of a log that looked empty for guarded, though others may have written by now."""

    __slots__ = ()

    def _is_guarded(self, batch: Any, now_ms: int) -> bool:
        return (self._state_time_ms is None and batch.base_offset == 0) or super()._is_guarded(batch, now_ms)


class _CopiesWhatFlowsWrote(PartitionCopy):
    """Leaves nothing out."""

    __slots__ = ()

    def offer(self, *given: Any) -> Any:
        """Copy it all."""
        self.reading.missing.left_out = frozenset()
        return super().offer(*given)


class _BeginsAtTheLogsStart(OffsetMaps):
    """Takes what stood in the log before us for copied."""

    async def remap(self, slot: Slot, remap: Remap) -> None:
        """Forget that nothing of ours lies below."""
        await super().remap(slot, replace(remap, fresh=False))


def _believes_in_the_map_alone(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    """Compare no record of ours with the source's."""
    return decide(writer, replace(target, tail=None), source, **given)


def _waits_for_nothing(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    """Go on though the leader has more than is committed."""
    return decide(writer, replace(target, log_end=target.end), source, **given)


async def _is_ours(*_: object) -> bool:
    """Pass nothing over."""
    return False


_MUTANTS = {
    "records of others counted as ours": Rules(((OnlyOurs, "leaves_out", _is_ours),)),
    "what flows wrote to the source copied": Rules(((pump, "PartitionCopy", _CopiesWhatFlowsWrote),)),
    "how far others pushed a batch forgotten": Rules(((pump, "PartitionCopy", _LandsWithDrift),)),
    "the first batch behind an empty log taken for guarded": Rules(((lifecycle, "Sending", _TrustsAnEmptyLog),)),
    "a map that begins below what stood there": Rules(maps_type=_BeginsAtTheLogsStart),
    "no record compared": Rules(((attacher, "decide", _believes_in_the_map_alone),)),
    "an uncommitted tail not waited for": Rules(((attacher, "decide", _waits_for_nothing),)),
}


_FOUND: dict[str, int] = {
    "records of others counted as ours": 0,
    "what flows wrote to the source copied": 0,
    "how far others pushed a batch forgotten": 0,
    "the first batch behind an empty log taken for guarded": 59,
    "no record compared": 20,
}
"""The first history that shows each; one without is looked for by the long suite alone."""


@pytest.mark.parametrize("name", _FOUND)
def test_the_simulation_catches(name: str) -> None:
    """Each rule broken alone is noticed."""
    first = _FOUND[name]

    assert first_violation(_MUTANTS[name], range(first, first + _NEAR), offsets=Offsets.MAPPED, shared=True) is not None


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", _MUTANTS)
def test_the_simulation_catches_from_the_first_history_on(name: str) -> None:
    """Within a fixed number of seeded histories."""
    assert first_violation(_MUTANTS[name], _SEEDS, offsets=Offsets.MAPPED, shared=True) is not None
