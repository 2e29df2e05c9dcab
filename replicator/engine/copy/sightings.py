"""What other rooms have seen of a partition's logs, when its own connections report nothing about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.verify.track import VerifyTrack

if TYPE_CHECKING:
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.copy.routes import Routes


class Sightings:
    """Accepts what was seen of a partition, unless it has since been re-created under the same name."""

    def __init__(self, context: CopyContext, routes: Routes) -> None:
        self._context = context
        self._routes = routes

    def take_silence(self, view: PartitionView) -> None:
        """Note until when the source's end was certainly the one last reported, as its leader was silent since."""
        if (slot := self._context.own(view)) is not None:
            self._routes.take_silence(slot)

    def note_end(self, view: PartitionView, end: int, at: float) -> None:
        """Note the source's end at monotonic time `at`."""
        if (slot := self._context.own(view)) is not None:
            slot.lag.reach(slot.copy.acked_offset)
            slot.lag.observe(end, at)

    def note_starts(self, view: PartitionView, source: int | None = None, target: int | None = None) -> None:
        """Note log starts; None keeps what is known."""
        if (slot := self._context.own(view)) is None:
            return
        if source is not None:
            slot.seen.source_start = source
        if target is not None:
            slot.seen.target_start = target

    def level_ms(self, view: PartitionView) -> int:
        """Return when the target last held everything the source was seen to hold (Unix, ms); 0 for never."""
        slot = self._context.own(view)
        if slot is None:
            return 0
        slot.lag.reach(slot.copy.acked_offset)
        if slot.lag.caught_up_at is not None:
            age_ms = int((self._context.now() - slot.lag.caught_up_at) * 1000)
            slot.recorded.was_level_at(self._context.now_ms() - age_ms)
        return slot.recorded.level_ms

    def track_of(self, view: PartitionView) -> VerifyTrack:
        """Return the track of how far a partition's copy was verified; create it for the first check."""
        slot = self._context.own(view)
        if slot is None:
            return VerifyTrack(view.source.partition)
        if slot.verified is None:
            slot.verified = VerifyTrack(slot.source.partition)
        return slot.verified
