"""What was seen of a partition's logs elsewhere than on its way: its own connections tell nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.verify.track import VerifyTrack

if TYPE_CHECKING:
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.routes import Routes
    from replicator.engine.copy.view import PartitionView


class Sightings:
    """Takes what was seen, for partitions that are still there; of another one under the same name nothing was seen."""

    def __init__(self, context: CopyContext, routes: Routes) -> None:
        self._context = context
        self._routes = routes

    def take_silence(self, view: PartitionView) -> None:
        """Note up to when the source surely ended where it was last told to end, as its leader said nothing since."""
        if (slot := self._context.own(view)) is not None:
            self._routes.take_silence(slot)

    def note_end(self, view: PartitionView, end: int, at: float) -> None:
        """Note where the source ended at monotonic time `at`."""
        if (slot := self._context.own(view)) is not None:
            slot.lag.reach(slot.copy.acked_offset)
            slot.lag.observe(end, at)

    def note_starts(self, view: PartitionView, source: int | None = None, target: int | None = None) -> None:
        """Note where logs begin; None leaves what is known."""
        if (slot := self._context.own(view)) is None:
            return
        if source is not None:
            slot.seen.source_start = source
        if target is not None:
            slot.seen.target_start = target

    def level_ms(self, view: PartitionView) -> int:
        """Return when the target last held all that the source was seen to hold (Unix, ms), 0 for never."""
        slot = self._context.own(view)
        if slot is None:
            return 0
        slot.lag.reach(slot.copy.acked_offset)
        if slot.lag.caught_up_at is not None:
            age_ms = int((self._context.now() - slot.lag.caught_up_at) * 1000)
            slot.recorded.was_level_at(self._context.now_ms() - age_ms)
        return slot.recorded.level_ms

    def track_of(self, view: PartitionView) -> VerifyTrack:
        """Return how far a partition's copy was verified; from now on somebody looks."""
        slot = self._context.own(view)
        if slot is None:
            return VerifyTrack(view.source.partition)
        if slot.verified is None:
            slot.verified = VerifyTrack(slot.source.partition)
        return slot.verified
