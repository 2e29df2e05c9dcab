"""Continuously verifies what was copied since the last look, next to the copy and never in its way.

Both sides are read in one separate thread, in small pieces and at a bounded rate. Partitions take turns; each starts
at its log start, continues to the end of what is on the target, then follows it.
What goes wrong here is logged and tried again: it never affects the copy.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from replicator.backoff import Backoff
from replicator.core.copy.values import Phase
from replicator.core.offsets.map_view import IDENTICAL, MapView
from replicator.core.verify.pace import Pace
from replicator.core.verify.track import VerifyTrack
from replicator.engine.logs.ranges.answers import OutOfRange
from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.engine.verify.room import Borrowed
from replicator.engine.verify.sides import TwoSides
from replicator.engine.verify.slice import Bounds, compare_slice
from replicator.errors import KafkaError, ReplicatorError
from replicator.obs import bugs
from replicator.obs.logs import get_logger
from replicator.wire.batches.inflate import OPENED_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.model.names import TopicPartition
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec, Isolation
    from replicator.wire.room import Room

_RESTART_SECONDS = (5.0, 300.0)
_ROUND_SECONDS = 2.0
_REST_SECONDS_MAX = 60.0
_ANSWER_SECONDS_MAX = 10.0
"""For at most this long a broker that does not answer holds up the other partitions, and the end of the process."""
_SLICE_BYTES = 16 << 20
_FETCH_BYTES = 1 << 20
_CHUNK_RECORDS = 1000
"""About a millisecond of the interpreter at a time."""
_COMPARABLE = frozenset({Phase.COPYING, Phase.SETTLING, Phase.PAUSED})
"""Phases in which it is known what was copied, by us. In the others nothing is compared, and the age grows."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VerifyRange:
    """The part of one partition that may be compared now.

    Attributes:
        track: How far it was compared.
        source: The partition on the source.
        target: The partition on the target.
        end: End of what both sides hold.
        target_end: End of what is read of the target: higher if it holds records that the source does not.
        floor: Nothing below it is compared.
        compacted: Whether a cleaner runs on one of the sides.
        view: Maps its offsets to the target's.
    """

    track: VerifyTrack
    source: TopicPartition
    target: TopicPartition
    end: int
    target_end: int
    floor: int = 0
    compacted: bool = False
    view: MapView = IDENTICAL

    @property
    def due(self) -> bool:
        """Whether anything was not compared yet."""
        through = self.track.through
        return through is None or through < max(self.end, self.target_end) or self.track.wants_ends


class Verifier:
    """Compares one range after the other, in one thread; use it as an asynchronous context manager.

    Args:
        source: How to reach the source.
        target: How to reach the target.
        isolation: Which records count.
        bytes_per_second: Bound over both sides; None for none.
        opened_bytes_max: Batches that expand to more are compared as they are stored.
        room: Bounds the memory of answers that hold one large batch; None for no bound.
    """

    def __init__(
        self,
        source: ClusterSpec,
        target: ClusterSpec,
        isolation: Isolation,
        bytes_per_second: int | None,
        opened_bytes_max: int = OPENED_BYTES_MAX,
        room: Room | None = None,
    ) -> None:
        self._opened_bytes_max = opened_bytes_max
        self._room = room
        self._specs = tuple(
            replace(spec, request_timeout_seconds=min(spec.request_timeout_seconds, _ANSWER_SECONDS_MAX))
            for spec in (source, target)
        )
        self._isolation = isolation
        self._pace = Pace(bytes_per_second)
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self._readers: tuple[PartitionReader, PartitionReader] | None = None

    async def __aenter__(self) -> Self:
        """Return itself; nothing is opened until it is used."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of everything, without waiting for it."""
        self._stop.set()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    async def compare_next(self, span: VerifyRange) -> bool:
        """Compare the next piece of a partition; return whether there is more.

        Raises:
            KafkaError: A cluster cannot be read, or a log was truncated below what had been read.
        """
        loop = asyncio.get_running_loop()
        span.track.observe(max(span.end, span.target_end), loop.time())
        if not span.due:
            return False
        await loop.run_in_executor(self._thread, self._compare_or_close, span)
        span.track.observe_reached(span.end, loop.time())
        if span.track.wants_ends:
            span.track.ends(await loop.run_in_executor(self._thread, self._ends, span))
        span.track.settle()
        return span.track.through is None or span.track.through < span.end

    def _sides(self, span: VerifyRange) -> TwoSides:
        if self._readers is None:
            left, right = (
                PartitionReader(
                    spec,
                    self._isolation,
                    fetch_bytes=_FETCH_BYTES,
                    chunk_records=_CHUNK_RECORDS,
                    stop=self._stop,
                    opened_bytes_max=self._opened_bytes_max,
                    rereads=False,
                    reads_ahead=False,
                    room=self._room,
                    room_seconds_bounded=True,
                )
                for spec in self._specs
            )
            self._readers = left, right
        return TwoSides(*self._readers, span.source, span.target, span.view)

    def _compare_or_close(self, span: VerifyRange) -> None:
        try:
            self._compare(self._sides(span), span)
        except KafkaError:
            self._close()  # the next look opens new ones, with the credentials and the topics of that time
            raise

    def _compare(self, sides: TwoSides, span: VerifyRange) -> None:
        track, end = span.track, max(span.end, span.target_end)
        if track.through is None:
            track.advance(min(end, max(*sides.starts(), span.floor)))
        start = track.through or 0
        if start >= end:
            return
        diff = track.diff(compacted=span.compacted)
        bounds = Bounds(start, span.end, span.target_end, _SLICE_BYTES)
        try:
            compare_slice(sides, diff, bounds, self._pace, self._stop, track.advance)
        except OutOfRange as error:
            track.skip(min(end, max(sides.overtaken(error))))

    def _ends(self, span: VerifyRange) -> int:
        return self._sides(span).high_watermark()

    def _close(self) -> None:
        readers, self._readers = self._readers or (), None
        for reader in readers:
            reader.close()


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a partition cannot be read, for how long it rests, and until when by the monotonic clock."""

    text: str
    rest_seconds: float
    until: float


class ContinuousVerify:
    """Verifies the partitions of one pump for as long as it runs.

    Args:
        flow: The flow, with its bounds.
        pump: Whose partitions.
    """

    def __init__(self, flow: FlowSpec, pump: Copier) -> None:
        self._flow = flow
        self._pump = pump
        # By track, not by name: a partition that is created again has neither the problems nor the findings of the old.
        self._problems: dict[VerifyTrack, _Problem] = {}
        self._reported: set[VerifyTrack] = set()
        self._unjudged: set[VerifyTrack] = set()

    async def run(self) -> None:
        """Verify until cancelled; whatever goes wrong, the copy continues, and verification starts again."""
        backoff = Backoff(*_RESTART_SECONDS)
        while True:
            try:
                await self._rounds()
            except Exception as error:  # noqa: BLE001 - a bug here must not end the copy next to it
                bugs.note(error, "verification ended, the copy continues", flow=self._flow.name)
            await asyncio.sleep(backoff.next_seconds())

    async def _rounds(self) -> None:
        source, target = self._pump.source.cluster.spec, self._pump.target.cluster.spec
        rate = self._flow.verify.bytes_per_second
        # Batches that the copy may open and encode again are compared record by record; larger ones as they are stored.
        opened_bytes_max = max(OPENED_BYTES_MAX, self._flow.limits.in_flight_bytes)
        room = Borrowed(self._pump.context.line.frames, asyncio.get_running_loop(), self._pump.context.line.kick)
        async with Verifier(source, target, self._flow.isolation, rate, opened_bytes_max, room) as verifier:
            while True:
                self._forget_what_is_gone()
                more = [await self._compare_next(verifier, span) for span in list(self._spans())]
                await asyncio.sleep(0 if any(more) else _ROUND_SECONDS)

    def _forget_what_is_gone(self) -> None:
        present = {slot.verified for slot in self._pump.partitions.values()}
        self._problems = {track: problem for track, problem in self._problems.items() if track in present}
        self._reported &= present
        self._unjudged &= present

    async def _compare_next(self, verifier: Verifier, span: VerifyRange) -> bool:
        """Look at one partition; one that cannot be read rests, longer each time, while the others continue."""
        problem = self._problems.get(span.track)
        if problem is not None and self._pump.context.now() < problem.until:
            return False
        try:
            more = await verifier.compare_next(span)
        except ReplicatorError as error:
            self._note_problem(span, error, problem)
            return False
        self._problems.pop(span.track, None)
        self._report(span)
        return more

    def _spans(self) -> Iterator[VerifyRange]:
        for slot in list(self._pump.partitions.values()):
            copy = slot.copy
            if copy.episode == 0 or copy.phase not in _COMPARABLE:
                continue
            track = self._pump.sightings.track_of(slot)
            end = copy.acked_offset
            view = _view(slot)
            floor = max(slot.recorded.seeded_to, view.floor)
            yield VerifyRange(track, slot.source, slot.target, end, end, floor, slot.recorded.cleaning.possible, view)

    def _note_problem(self, span: VerifyRange, error: ReplicatorError, before: _Problem | None) -> None:
        """Log it once for as long as it stays the same."""
        rest = _ROUND_SECONDS if before is None else min(_REST_SECONDS_MAX, before.rest_seconds * 2)
        self._problems[span.track] = _Problem(str(error), rest, self._pump.context.now() + rest)
        if before is None or before.text != str(error):
            log.warning(
                "not verified",
                flow=self._flow.name,
                partition=str(span.source),
                why=str(error),
                next=error.next_step,
            )

    def _report(self, span: VerifyRange) -> None:
        if skipped := span.track.take_skipped():
            log.info(
                "offsets not verified, a log start has passed them",
                flow=self._flow.name,
                partition=str(span.source),
                offsets=skipped,
            )
        first = span.track.first
        if first is not None and span.track not in self._reported:
            self._reported.add(span.track)
            log.error(
                "source and target differ",
                flow=self._flow.name,
                at=f"{span.source}@{first.offset}",
                kind=first.kind.value,
                why=first.detail,
                next=f"replicator verify {self._flow.name} -c FILE --topic {span.source.topic}",
            )
        if span.track.unjudged and span.track not in self._unjudged:
            self._unjudged.add(span.track)
            log.warning(
                "not all of a compacted partition can be verified",
                flow=self._flow.name,
                partition=str(span.source),
                why="more records than can be held are on one side only, for now",
                next=f"replicator verify {self._flow.name} -c FILE --topic {span.source.topic}",
            )


async def verify_continuously(flow: FlowSpec, pump: Copier) -> None:
    """Verify next to a running copy, if its flow asks for it."""
    if flow.verify.continuous:
        await ContinuousVerify(flow, pump).run()


def _view(slot: PartitionView) -> MapView:
    """Return a snapshot of a partition's map of offsets, which does not change while the map grows."""
    track, given_up = slot.copy.track, slot.mapping.given_up
    if track is None:
        return MapView(given_up=given_up) if given_up else IDENTICAL
    return MapView(track.offsets.snapshot(), track.mapped, slot.mapping.compared_from, given_up)
