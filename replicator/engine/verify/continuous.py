"""Verifies again and again what was copied since the last look, beside the copy, and never in its way.

Both sides are read in one thread of its own, in small pieces and at a bounded rate. Partitions take turns; each begins
at its log start and goes on to the end of what is on the target, then follows it.
What goes wrong here is told and tried again: it never reaches those who copy.
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
from replicator.engine.logs.answers import OutOfRange
from replicator.engine.logs.partition_reader import PartitionReader
from replicator.engine.verify.room import Borrowed
from replicator.engine.verify.sides import TwoSides
from replicator.engine.verify.slice import Bounds, compare_slice
from replicator.errors import KafkaError, ReplicatorError
from replicator.obs import bugs
from replicator.obs.logs import get_logger
from replicator.wire.inflate import OPENED_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.view import PartitionView
    from replicator.model.names import TopicPartition
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec, Isolation
    from replicator.wire.room import Room

_BEGIN_AGAIN_SECONDS = (5.0, 300.0)
_ROUND_SECONDS = 2.0
_TROUBLE_SECONDS_MAX = 60.0
_ANSWER_SECONDS_MAX = 10.0
"""A broker that does not answer holds up the other partitions, and the end of the process, for so long at most."""
_SLICE_BYTES = 16 << 20
_FETCH_BYTES = 1 << 20
_CHUNK_RECORDS = 1000
"""About a millisecond of the interpreter at a time."""
_STANDS = frozenset({Phase.COPYING, Phase.SETTLING, Phase.PAUSED})
"""Phases in which what was copied is known and is ours. In the others nothing is compared, and the age grows."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """What of one partition may be compared now.

    Attributes:
        track: How far it was compared.
        source: The partition on the source.
        target: The partition on the target.
        end: End of what both sides hold.
        target_end: End of what is read of the target: higher, where it holds what the source has not.
        floor: Nothing below it is compared.
        compacted: Whether a cleaner runs on one of the sides.
        view: Where its offsets stand on the target.
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
        """Whether there is anything that was not compared."""
        through = self.track.through
        return through is None or through < max(self.end, self.target_end) or self.track.wants_ends


class Verifier:
    """Compares places one after the other, in one thread; use it as an asynchronous context manager.

    Args:
        source: How to reach the source.
        target: How to reach the target.
        isolation: Which records count.
        bytes_per_second: Bound over both sides; None for none.
        opened_bytes_max: Batches that expand to more are compared as they are stored.
        room: What answers are taken out of that hold one large batch; None where nothing bounds them.
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
        """Return itself; nothing is opened before it is used."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of everything, without waiting for it."""
        self._stop.set()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    async def look(self, place: Place) -> bool:
        """Compare the next piece of a partition; return whether there is more.

        Raises:
            KafkaError: A cluster cannot be read, or a log was cut below what had been read.
        """
        loop = asyncio.get_running_loop()
        place.track.observe(max(place.end, place.target_end), loop.time())
        if not place.due:
            return False
        await loop.run_in_executor(self._thread, self._look, place)
        place.track.observe_reached(place.end, loop.time())
        if place.track.wants_ends:
            place.track.ends(await loop.run_in_executor(self._thread, self._ends, place))
        place.track.settle()
        return place.track.through is None or place.track.through < place.end

    def _sides(self, place: Place) -> TwoSides:
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
                    looks_ahead=False,
                    room=self._room,
                    room_seconds_bounded=True,
                )
                for spec in self._specs
            )
            self._readers = left, right
        return TwoSides(*self._readers, place.source, place.target, place.view)

    def _look(self, place: Place) -> None:
        try:
            self._compare(self._sides(place), place)
        except KafkaError:
            self._close()  # made anew with the next look, with the credentials and the topics of then
            raise

    def _compare(self, sides: TwoSides, place: Place) -> None:
        track, end = place.track, max(place.end, place.target_end)
        if track.through is None:
            track.advance(min(end, max(*sides.starts(), place.floor)))
        start = track.through or 0
        if start >= end:
            return
        diff = track.diff(compacted=place.compacted)
        bounds = Bounds(start, place.end, place.target_end, _SLICE_BYTES)
        try:
            compare_slice(sides, diff, bounds, self._pace, self._stop, track.advance)
        except OutOfRange as error:
            track.skip(min(end, max(sides.overtaken(error))))

    def _ends(self, place: Place) -> int:
        return self._sides(place).high_watermark()

    def _close(self) -> None:
        readers, self._readers = self._readers or (), None
        for reader in readers:
            reader.close()


@dataclass(frozen=True, slots=True)
class _Trouble:
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
        # By track, not by name: a partition that is made anew has neither the troubles of the one before nor its finds.
        self._troubles: dict[VerifyTrack, _Trouble] = {}
        self._told: set[VerifyTrack] = set()
        self._unjudged: set[VerifyTrack] = set()

    async def run(self) -> None:
        """Verify until cancelled; whatever goes wrong, the copy goes on, and verification begins again."""
        backoff = Backoff(*_BEGIN_AGAIN_SECONDS)
        while True:
            try:
                await self._rounds()
            except Exception as error:  # noqa: BLE001 - a bug here must not end the copy beside it
                bugs.note(error, "verification ended, the copy goes on", flow=self._flow.name)
            await asyncio.sleep(backoff.next_seconds())

    async def _rounds(self) -> None:
        source, target = self._pump.source.cluster.spec, self._pump.target.cluster.spec
        rate = self._flow.verify.bytes_per_second
        # What the copy may open to encode it anew is compared record by record; what is larger passes as it is.
        opened_bytes_max = max(OPENED_BYTES_MAX, self._flow.limits.in_flight_bytes)
        room = Borrowed(self._pump.context.line.frames, asyncio.get_running_loop(), self._pump.context.line.kick)
        async with Verifier(source, target, self._flow.isolation, rate, opened_bytes_max, room) as verifier:
            while True:
                self._forget_what_is_gone()
                more = [await self._look(verifier, place) for place in list(self._places())]
                await asyncio.sleep(0 if any(more) else _ROUND_SECONDS)

    def _forget_what_is_gone(self) -> None:
        present = {slot.verified for slot in self._pump.partitions.values()}
        self._troubles = {track: trouble for track, trouble in self._troubles.items() if track in present}
        self._told &= present
        self._unjudged &= present

    async def _look(self, verifier: Verifier, place: Place) -> bool:
        """Look at one partition; one that cannot be read rests, longer each time, and the others go on."""
        trouble = self._troubles.get(place.track)
        if trouble is not None and self._pump.context.now() < trouble.until:
            return False
        try:
            more = await verifier.look(place)
        except ReplicatorError as error:
            self._trouble(place, error, trouble)
            return False
        self._troubles.pop(place.track, None)
        self._tell(place)
        return more

    def _places(self) -> Iterator[Place]:
        for slot in list(self._pump.partitions.values()):
            copy = slot.copy
            if copy.episode == 0 or copy.phase not in _STANDS:
                continue
            track = self._pump.sightings.track_of(slot)
            end = copy.acked_offset
            view = _view(slot)
            floor = max(slot.recorded.seeded_to, view.floor)
            yield Place(track, slot.source, slot.target, end, end, floor, slot.recorded.cleaning.possible, view)

    def _trouble(self, place: Place, error: ReplicatorError, before: _Trouble | None) -> None:
        """Tell of it once for as long as it stays the same."""
        rest = _ROUND_SECONDS if before is None else min(_TROUBLE_SECONDS_MAX, before.rest_seconds * 2)
        self._troubles[place.track] = _Trouble(str(error), rest, self._pump.context.now() + rest)
        if before is None or before.text != str(error):
            log.warning(
                "not verified",
                flow=self._flow.name,
                partition=str(place.source),
                why=str(error),
                next=error.next_step,
            )

    def _tell(self, place: Place) -> None:
        if skipped := place.track.take_skipped():
            log.info(
                "offsets not verified, a log start has passed them",
                flow=self._flow.name,
                partition=str(place.source),
                offsets=skipped,
            )
        first = place.track.first
        if first is not None and place.track not in self._told:
            self._told.add(place.track)
            log.error(
                "source and target differ",
                flow=self._flow.name,
                at=f"{place.source}@{first.offset}",
                kind=first.kind.value,
                why=first.detail,
                next=f"replicator verify {self._flow.name} -c FILE --topic {place.source.topic}",
            )
        if place.track.unjudged and place.track not in self._unjudged:
            self._unjudged.add(place.track)
            log.warning(
                "not all of a compacted partition can be verified",
                flow=self._flow.name,
                partition=str(place.source),
                why="too many records stand on one side only, for now",
                next=f"replicator verify {self._flow.name} -c FILE --topic {place.source.topic}",
            )


async def verify_continuously(flow: FlowSpec, pump: Copier) -> None:
    """Verify beside a running copy, if its flow asks for it."""
    if flow.verify.continuous:
        await ContinuousVerify(flow, pump).run()


def _view(slot: PartitionView) -> MapView:
    """Return where a partition's offsets stand, apart from what grows meanwhile."""
    track, given_up = slot.copy.track, slot.mapping.given_up
    if track is None:
        return MapView(given_up=given_up) if given_up else IDENTICAL
    return MapView(track.offsets.snapshot(), track.mapped, slot.mapping.compared_from, given_up)
