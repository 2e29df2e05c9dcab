"""A daemon around one `PartitionCopy`, reduced to what decides about exactness.

`Daemon` follows `engine.copy.pump`, `reader`, `writer`, `attacher`, `facts` and `engine.work.claim` line by line where
those decide anything, on top of `engine.copy.live_maps` and `engine.copy.partition` themselves, with every wait made an
event of its own: what the engine awaits, the history chooses the moment of.
`model_rules.Rules` names each decision, so that a test can break one at a time; two of them live in `model_world`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

from replicator.core.copy.answers import ProduceOutcome, classify_produce
from replicator.core.copy.attach_facts import (
    Decision,
    Fault,
    Mapping,
    Policy,
    Remap,
    Resume,
    SourceLog,
    TargetLog,
    Wait,
)
from replicator.core.copy.coalesce import Group
from replicator.core.copy.displaced import displaced_by
from replicator.core.copy.doubt import Edges, Unseen, judge
from replicator.core.copy.intake import Encode, Fill, Skip
from replicator.core.copy.track import Track
from replicator.core.copy.values import Batch, Phase, TargetLimits
from replicator.core.offsets.offset_map import OffsetMap, Place
from replicator.core.work.claim import Move, Seen, effective_from, next_move
from replicator.engine.copy.live_maps import last_source, mapping_of, stepped_back
from replicator.engine.copy.partition import Slot
from replicator.engine.logs.walking import Walked
from replicator.errors import ReplicatorError
from replicator.model.spec import Offsets
from replicator.model.states import Reason
from tests.property.model_broker import (
    BATCH_BYTES_MAX,
    CLUSTER_AUTHORIZATION_FAILED,
    FLOW_PRODUCER,
    GUARD_MS,
    FetchAnswer,
    ProducedBatch,
    SourceBatch,
    SourceRecord,
    encoded,
    merged,
    rewritten,
)
from tests.property.model_look import Bounds, Gone, View, own_tail, source_view, walk
from tests.property.model_rules import (
    DOUBT_MS,
    DOUBTFUL,
    DOUBTFUL_TODAY,
    FILL_LENGTH_MAX,
    NEVER,
    OURS,
    PROOF_MS,
    QUEUE_BYTES_MAX,
    REGISTERED,
    TIMING,
    VERIFIED_MS_MAX,
    WRITER,
    Connection,
    Request,
    Violation,
)
from tests.property.model_state import UID, WHERE, StateView
from tests.shards import shard_with

if TYPE_CHECKING:
    from replicator.engine.state.log import StateLog
    from tests.property.model_world import World


def _made(batches: dict[int, SourceBatch], group: Group) -> list[tuple[int, ProducedBatch]]:
    """Do what `engine.copy.reader` does with a group: one batch of it, or each as it is; with the base offsets."""
    made = [rewritten(batches[header.base_offset], *OURS, sequence) for header, sequence in group.passes]
    bases = [header.base_offset for header, _ in group.passes]
    return [(bases[0], merged(made))] if group.merged else list(zip(bases, made, strict=True))


class Facts(NamedTuple):
    """As `engine.copy.facts.Facts`, and the target's log end."""

    target: TargetLog
    source: SourceLog
    mapping: Mapping | None
    log_end: int


class Daemon:
    """One daemon, as far as one partition is concerned."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rules = world.rules
        self._begin()
        self.view = StateView(world.state, lambda: world.now_ms, compares=self.rules.remap_compared)
        self.maps = self.rules.maps_type(UID, cast("StateLog", self.view))
        self.mapped_before: tuple[Track, int] | None = None
        self.active = world.active
        self.stored_epoch = world.stored_epoch
        self.connection: Connection | None = None
        self.attaching: Iterator[None] | None = None
        self.fetched: tuple[Slot, int, FetchAnswer] | None = None
        self.seen_end = 0
        self.remaps = 0
        self.displaced = False
        self.displaced_by_another = False
        self.lost_place = False
        self.place_may_be_lost = True
        self.due = NEVER
        self._verified_ms = NEVER
        self._doubt_until = NEVER
        self._place = (-1, NEVER)
        self._claim_number = 0
        self._claim_valid_until = 0.0
        self._claim_effective_at = 0.0

    def _begin(self) -> None:
        """Make the partition's machine, as `Pump.add` does."""
        world = self.world
        lenient = world.offsets is not Offsets.IDENTICAL
        limits = TargetLimits(
            BATCH_BYTES_MAX,
            GUARD_MS,
            world.fill_length_max,
            may_be_mapped=lenient,
            surplus_allowed=lenient,
            others_write=world.shared,
        )
        self.copy = self.rules.copy_type(WHERE, limits)
        self.copy.left_out = {FLOW_PRODUCER} if world.shared else frozenset()
        self.slot = Slot(WHERE, WHERE, self.copy, shard_with(self))

    # -- the claim (engine.work.claim) ------------------------------------------------------------------------------

    def work_claim(self) -> None:
        """Take or renew the claim, as `core.work.claim` says."""
        world = self.world
        now = world.now_ms / 1000
        move = next_move(world.claim, self.name, now, TIMING)
        before = world.claim
        if move is Move.TAKE:
            self._claim_number = before.number + 1 if before is not None else 1
            world.claim = Seen(self._claim_number, self.name, 0, released=False, since=now)
            doubt_seconds = DOUBT_MS / 1000 if self.rules.doubt_waited else 0.0
            self._claim_effective_at = effective_from(before, now, doubt_seconds)
        elif move is Move.RENEW and before is not None:
            world.claim = Seen(before.number, self.name, before.renewal + 1, released=False, since=now)
        else:
            return
        self._claim_valid_until = now + TIMING.ttl_seconds - TIMING.margin_seconds

    def _claimed_since_ms(self) -> float | None:
        now = self.world.now_ms / 1000
        if self._claim_number and self._claim_effective_at <= now < self._claim_valid_until:
            return self._claim_effective_at * 1000
        return None

    def effective_since(self) -> float | None:
        """As `engine.copy.producer_state.Claim`."""
        return self._claimed_since_ms()

    @property
    def holder(self) -> str | None:
        """As `engine.copy.producer_state.Claim`."""
        return self.world.claim.holder if self.world.claim is not None else None

    @property
    def number(self) -> int:
        """As `engine.copy.producer_state.Claim`."""
        return self._claim_number

    def may_work_unguarded(self) -> bool:
        """Follow `Pump.may_work_unguarded`."""
        if not self.rules.claim_needed:
            return True
        return self._place_is_proven() and not self._must_wait_for_others()

    def _place_is_proven(self) -> bool:
        since, now, rules = self._claimed_since_ms(), self.world.now_ms, self.rules
        if since is None or self._verified_ms < since or now - self._verified_ms >= VERIFIED_MS_MAX:
            return False
        if rules.doubt_waited and now < self._doubt_until:
            return False
        return not (rules.doubt_waited and rules.proven_after_doubt and self._verified_ms < self._doubt_until)

    def _must_wait_for_others(self) -> bool:
        """Return whether another daemon may still send from an older place, on a guard that our batch would end."""
        now = self.world.now_ms
        aging = self.rules.aging_waited and self.copy.guard_is_on(now)
        return aging and now - self._place[1] < PROOF_MS + DOUBT_MS

    def attach_for_claim(self) -> None:
        """Follow `Pump._attach_for_claim`."""
        waits = self.copy.waits_for_claim or self.copy.fill_due() is not None
        if self._claimed_since_ms() is None or not waits or not self.copy.is_copying():
            return
        if not self._place_is_proven() and self.world.now_ms >= self._doubt_until:
            self._settle("the claim is ours: reading the log again")

    # -- attaching (engine.copy.attacher, engine.copy.facts) --------------------------------------------------------

    def step_attach(self) -> bool:
        """Begin an attach, or do its next read; return whether there was anything to do."""
        if self.attaching is None:
            copy = self.copy
            if copy.phase not in {Phase.ATTACHING, Phase.SETTLING} or copy.outstanding or self.world.now_ms < self.due:
                return False
            if copy.phase is Phase.SETTLING:
                copy.attach_again()
            self.stored_epoch = max(self.stored_epoch, copy.last_epoch)  # as `Pump._detach`
            if copy.doubted is not None:
                self.attaching = self._look_at_doubted(copy.doubted.offset)
            elif copy.displaced is not None and self.rules.displaced_looked_at:
                self.attaching = self._look_at_displaced(copy.displaced)
            else:
                self.attaching = self._attach()
        if next(self.attaching, self) is self:
            self.attaching = None
        return True

    def _attach(self) -> Iterator[None]:
        """Follow `AttachLoop._attach`."""
        world, copy = self.world, self.copy
        began = world.now_ms
        if not self.rules.displaced_looked_at:
            copy.displaced = None
        self.maps.refresh(self.slot)
        facts = yield from self._read_facts()
        if facts is None:
            return
        if world.offsets is not Offsets.IDENTICAL and self.rules.map_read_after_logs:
            try:
                yield from self.maps.read_to_end().__await__()
            except ReplicatorError:
                return
            if self.maps.refresh(self.slot):
                return
        if copy.phase is not Phase.ATTACHING:
            return
        self._verified_ms = began
        place = facts.mapping.place if facts.mapping is not None else Place(facts.target.end, facts.target.end)
        self.lost_place = place is None
        self.seen_end = -1 if place is None else place.source
        if self.rules.log_end_known and facts.log_end != facts.target.end:
            copy.wait(Reason.WAITING_FOR_TAIL, "a tail is not committed")
            return
        self.active = self.active or world.active
        self.slot.source_start, self.slot.target_start = facts.source.start, facts.target.start
        yield from self._take_facts(facts)

    def _read_facts(self) -> Generator[None, None, Facts | None]:
        """Follow `engine.copy.facts.read_facts`; None where a broker refuses, or the partition was stopped."""
        source, target = self.world.source, self.world.target
        ends: tuple[int, int | None] = (source.end, self._epoch_end())
        start = source.start
        yield
        first, end = target.start, target.visible_end()
        if end is None:
            return None
        yield
        entry = target.entry(WRITER.producer_id)
        log_end = target.log_end
        yield
        if self.world.shared:
            end = target.visible_end()
            if end is None:
                return None
            log_end = max(end, log_end)
            tail = None
        else:
            tail = target.tail(end)
        yield
        if self.rules.reads_in_order:
            ends = (source.end, self._epoch_end())
            yield
        if source.incarnation != REGISTERED and self.copy.phase is Phase.ATTACHING:
            self.copy.fault(Reason.SOURCE_RECREATED, "another topic stands under the name")
            return None
        log = TargetLog(first, end, entry, tail, log_end=log_end if self.world.log_end_shown else None)
        bounds = Bounds(start, ends[0])
        try:
            walked = yield from self._walk(log, bounds)
            if self.world.shared:
                here = Bounds(log.start, log.end)
                tail = own_tail(target, self.copy.track, here, walked.last_target, WRITER.producer_id)
                log = replace(log, tail=tail)
            mapping = mapping_of(self.slot, end, walked.place, tail.last_offset if tail is not None else None)
            view = self._source_view(log, bounds, mapping)
            if self.rules.skips_forgotten and view.unfilled is not None and mapping is not None and mapping.mapped:
                mapping = stepped_back(self.slot, mapping, end)
                view = self._source_view(log, bounds, mapping)
        except Gone:
            return None
        there = SourceLog(start, ends[0], ends[0], view.content, ends[1], view.epoch, view.unfilled)
        return Facts(log, there, mapping, log_end)

    def _given_up(self) -> tuple[tuple[int, int], ...]:
        return self.copy.given_up if self.rules.given_up_known else ()

    def _walk(self, log: TargetLog, bounds: Bounds) -> Generator[None, None, Walked]:
        """Follow `engine.copy.facts._walk`."""
        track, walked = self.copy.track, Walked(None)
        if track is not None and track.mapped:
            steps = walk(
                track.offsets,
                self.world.source,
                self.world.target,
                bounds,
                Bounds(log.start, log.end),
                self._given_up(),
                self.rules.spans,
                self.rules.reading_from,
                ours=WRITER.producer_id if self.world.shared and self.rules.others_told_apart else None,
            )
            for found in steps:
                walked = found
                yield
        return walked

    def _source_view(self, log: TargetLog, bounds: Bounds, mapping: Mapping | None) -> View:
        """Follow `engine.copy.facts._source_view` up to the read."""
        last = log.tail.last_offset if log.tail is not None else log.start - 1
        upper = log.end
        mapped = mapping is not None and mapping.mapped
        if mapping is not None:
            place = mapping.place or Place(bounds.start, log.end)
            last = last_source(self.slot, mapping, log.start)
            upper = place.source if mapped else max(place.source, log.end)
        return source_view(self.world.source, last, upper, bounds, self._given_up())

    def _take_facts(self, facts: Facts) -> Iterator[None]:
        """Follow `AttachLoop._take_facts`."""
        offsets, copy, mapping = self.world.offsets, self.copy, facts.mapping
        if mapping is not None and not self.rules.judged_from_known:
            mapping = replace(mapping, judged_from=0)
        decision = self.rules.decide(
            WRITER,
            facts.target,
            facts.source,
            ours=self.active,
            begin_at=facts.source.start,
            mapping=mapping,
            policy=Policy(
                mapped=offsets is Offsets.MAPPED,
                may_be_mapped=copy.limits.may_be_mapped,
                surplus_allowed=offsets is not Offsets.IDENTICAL,
                wants_mapping=copy.wants_mapping or self.world.shared,
                given_up=copy.given_up,
                others_write=self.world.shared,
            ),
        )
        yield from self._carry_out(decision, facts.source.epoch)

    def _epoch_end(self) -> int | None:
        return self.world.source.epoch_end(self.stored_epoch)[1] if self.stored_epoch >= 0 else None

    def _carry_out(self, decision: Decision, source_epoch: int) -> Iterator[None]:
        if isinstance(decision, Wait):
            self.copy.wait(decision.reason, decision.detail)
        elif isinstance(decision, Resume):
            self._resume(decision, source_epoch)
        elif isinstance(decision, Fault | Remap):
            yield from self._with_latest_map(decision)
        else:
            raise Violation(f"{self.name} wants to seed: {decision}")

    def _with_latest_map(self, decision: Fault | Remap) -> Iterator[None]:
        """Follow `AttachLoop._with_latest_map`."""
        copy, slot = self.copy, self.slot
        try:
            changed = yield from self.maps.refresh_from_end(slot).__await__()
            if changed:
                copy.displaced, self.displaced = None, False
            if changed or copy.phase is not Phase.ATTACHING:
                return
            if isinstance(decision, Fault):
                copy.displaced = None
                if copy.track is not None:
                    copy.track.forget_walk()
                self.displaced_by_another = not self.displaced and self.world.is_unrecorded()
                self.place_may_be_lost = not self.lost_place or self.world.is_place_lost()
                copy.fault(decision.reason, decision.detail)
                return
            if self.rules.remap_recorded:
                yield from self.maps.remap(slot, decision).__await__()
            else:
                offsets = OffsetMap(Place(0, 0)) if copy.track is None else copy.track.offsets
                offsets.go_straight(decision.place)
                offsets.pass_over(decision.place)
                copy.track = Track(offsets, mapped=decision.mapped)
            self.remaps += 1
            copy.displaced, self.displaced = None, False
        except ReplicatorError as error:
            copy.say(Reason.WAITING_FOR_LEADER, str(error))

    def _look_at_doubted(self, offset: int) -> Iterator[None]:
        """Follow `AttachLoop._look_at_doubted` and `engine.logs.reading.look_again`."""
        source, copy = self.world.source, self.copy
        if source.incarnation != REGISTERED and copy.phase is Phase.ATTACHING:
            copy.fault(Reason.SOURCE_RECREATED, "another topic stands under the name")
            return
        verdict = None
        if source.start <= offset < source.end:
            answer, end = source.fetch(REGISTERED, max(source.start, offset - 1), -1, 100), source.end
            yield
            headers = [batch.header for batch in answer.batches]
            if source.incarnation == REGISTERED:
                verdict = judge(headers, offset, Edges(max(end, source.end), source.epochs[-1][0]))
        if isinstance(verdict, Unseen):
            return
        fault = copy.looked(verdict if self.rules.looked_again else None)
        if fault is not None and copy.phase is Phase.ATTACHING:
            copy.fault(Reason.CORRUPT_BATCH, fault)

    def _look_at_displaced(self, place: Place) -> Iterator[None]:
        """Follow `AttachLoop._look_at_displaced` and `engine.copy.facts.what_displaced`."""
        target, copy = self.world.target, self.copy
        begin = copy.target_end
        mapped = copy.track is not None and copy.track.mapped
        yield
        if target.visible_end() is None:
            return
        strangers = [
            (batch.produced.header.producer_id, batch.base)
            for batch in target.log
            if begin < batch.next_offset
            and batch.base < place.target
            and not batch.produced.header.is_control
            and batch.produced.header.producer_id != WRITER.producer_id
        ]
        decision = displaced_by(strangers[0] if strangers else None, place, mapped=mapped)
        if decision is not None:
            yield from self._with_latest_map(decision)
            return
        copy.displaced, self.displaced = None, False

    def _resume(self, decision: Resume, source_epoch: int) -> None:
        """Follow `AttachLoop._resume` and `Pump.begin_copying`."""
        copy, world = self.copy, self.world
        state_ms = decision.state_time_ms
        guarded = state_ms is not None and state_ms > world.now_ms - GUARD_MS
        if self.rules.doubt_waited and copy.doubtful and not guarded and world.now_ms < self._doubt_until:
            copy.wait(Reason.WAITING_FOR_DOUBT, "a write without an answer may still arrive")
            self.due = self._doubt_until
            return
        copy.compacted = world.compacted
        copy.resume(decision, source_epoch if self.rules.source_epoch_known else -1)
        displaced = world.displaced_from() if world.offsets is Offsets.AUTO and not world.alien else None
        if displaced is not None and displaced < decision.place.target:
            raise Violation(f"{self.name} goes on at {decision.place} behind a difference that is not recorded")
        self.displaced = False
        if not copy.is_copying():
            return
        if self.connection is not None and self.connection.term != world.target.term:
            self.connection = None
        self._stand_at(decision.place.target)
        self.active = world.active = True

    def persist(self, fate: str) -> None:
        """Write blocks of the map, as the claim's holder does every few seconds; `fate` is what becomes of it."""
        if self.world.claim is None or self.world.claim.holder != self.name:
            return
        self.view.fate = fate
        try:
            for _ in self.maps.persist([self.slot]).__await__():
                pass
        except ReplicatorError:
            pass  # the next time writes it
        self.world.check_blocks()

    def _stand_at(self, offset: int) -> None:
        if self._place[0] != offset:
            self._place = (offset, self.world.now_ms)

    # -- reading (engine.copy.reader) ----------------------------------------------------------------------------------

    def fetch(self, batches_max: int) -> bool:
        """Ask the source; the answer is on its way until `take`."""
        copy = self.copy
        if self.fetched is not None or not copy.wants_more(QUEUE_BYTES_MAX):
            return False
        answer = self.world.source.fetch(REGISTERED, copy.next_offset, copy.last_epoch, batches_max)
        self.fetched = (self.slot, copy.episode, self.world.spoiled(answer))
        return True

    def take(self) -> bool:
        """Take the answer of the source."""
        if self.fetched is None:
            return False
        (slot, episode, answer), self.fetched = self.fetched, None
        copy = self.copy
        if self.rules.asked_by_identity and slot is not self.slot:
            return True
        if episode != copy.episode or not copy.is_copying():
            return True
        if answer.refusal == "UNKNOWN_TOPIC_ID":
            copy.fault(Reason.SOURCE_RECREATED, answer.refusal)
        elif answer.refusal is not None:
            self._settle(answer.refusal)
        elif answer.diverging is not None:
            copy.fault(Reason.SOURCE_TRUNCATED, f"diverging at {answer.diverging}")
        else:
            self._offer(answer)
        return True

    def _offer(self, answer: FetchAnswer) -> None:
        if not answer.batches:
            if self.world.compacted:  # as `engine.copy.end_looks`
                self.copy.end_of_log(answer.end, answer.epoch)
            return
        batches = {batch.header.base_offset: batch for batch in answer.batches}
        pieces, _ = self.copy.offer(
            [batch.header for batch in answer.batches],
            answer.aborted,
            Edges(answer.end, answer.epoch),
            lambda header: batches[header.base_offset].unpack(),
            lambda _: None,
        )
        for piece in pieces:
            if isinstance(piece, Fill):
                self.copy.queue_fill(piece)
                continue
            if isinstance(piece, Skip):
                self.copy.queue_skip(piece)
                continue
            if isinstance(piece, Encode):
                produced = [(piece.base_offset, self._encode(piece))]
            else:
                produced = [
                    each for group in self.rules.groups(piece, BATCH_BYTES_MAX) for each in _made(batches, group)
                ]
            shift = self.copy.shift
            for base, each in produced:
                header = each.header
                self.copy.queue(
                    [Batch(base + shift, header.record_count, header.max_timestamp, header.size, each, None)]
                )

    def _encode(self, piece: Encode) -> ProducedBatch:
        records = tuple(each.record for each in piece.records if isinstance(each, SourceRecord))
        return encoded(piece.header, records, *OURS, piece.sequence)

    # -- writing (engine.copy.writer, Pump.count, Pump.after_answer) ---------------------------------------------------

    def send(self) -> bool:
        """Send the next batch, if it may be sent."""
        copy, world = self.copy, self.world
        if not copy.is_copying():
            return False
        if self.rules.aging_waited and world.now_ms - self._verified_ms >= PROOF_MS and not copy.drained:
            self._settle("the place was not proven lately")
            return True
        batch = copy.next_to_send(world.now_ms, claimed=self.may_work_unguarded())
        if batch is None:
            return self._send_fill()
        produced = batch.payload
        assert isinstance(produced, ProducedBatch)
        self._put((batch, produced))
        return True

    def _put(self, work: tuple[Batch, ProducedBatch] | tuple[Fill, int]) -> None:
        connection = self.connection
        if connection is None or not connection.open:
            connection = self.connection = Connection(self.world.target.term)
        request = Request(work, self.copy.episode, self.world.now_ms)
        connection.undelivered.append(request)
        connection.unanswered.append(request)

    def _send_fill(self) -> bool:
        """Send the next fill, or part of it, if this daemon alone may append now (engine.copy.filler)."""
        due = self.copy.fill_due()
        if due is None or not self._may_fill():
            return False
        if self.world.target.fills_denied and self.copy.limits.may_be_mapped:
            self.copy.leave_out("neither route is allowed")  # as `FillRoute.prepare` finds out
            return True
        self._put((self.copy.begin_fill(FILL_LENGTH_MAX), self._claim_number))
        return True

    def _may_fill(self) -> bool:
        if not self.rules.claim_needed:
            return True
        if not self.rules.fill_doubt_waited:
            return self._claimed_since_ms() is not None
        return self._place_is_proven()

    def hear(self) -> bool:
        """Take the next answer of the target, if one has come."""
        connection = self.connection
        if connection is None or not connection.unanswered or connection.unanswered[0].answer is None:
            return False
        request = connection.unanswered.popleft()
        code, base = request.answer or (-1, -1)
        outcome = ProduceOutcome.ACCEPTED if not code else classify_produce(code)
        batch = request.work[0]
        if isinstance(batch, Fill):
            self._hear_fill(batch, request, outcome)
            return True
        if code or not self.copy.accepted(batch, request.episode, base):
            self.copy.answered(batch, request.episode, outcome, base, f"error {code}")
            self.displaced = self.displaced or (not code and base > batch.base_offset)
            self._after_answer(outcome)
        if outcome is ProduceOutcome.ACCEPTED:
            # The answer may have waited for us: it proves the place for when the request was sent, not for now.
            proven_ms = request.sent_ms if self.rules.proven_when_sent else self.world.now_ms
            self._verified_ms = max(self._verified_ms, proven_ms)
            self.due = NEVER
            if request.episode == self.copy.episode:
                self._stand_at(self.copy.target_end)
            if base != batch.base_offset and self.copy.is_copying() and not self.world.shared:
                raise Violation(f"{self.name} goes on though offset {batch.base_offset} landed at {base}")
        return True

    def _hear_fill(self, fill: Fill, request: Request, outcome: ProduceOutcome) -> None:
        """Take the answer to a fill, and ask for the log's end; every refusal may hide a marker that was appended."""
        copy, end = self.copy, self.world.target.visible_end()
        if request.answer is not None and request.answer[0] == CLUSTER_AUTHORIZATION_FAILED:
            copy.fill_failed(request.episode, "fill: no right", doubtful=False)
            copy.wants_mapping = copy.limits.may_be_mapped
        elif outcome is ProduceOutcome.ACCEPTED and end is not None:
            copy.filled(fill, request.episode, end)
            if request.episode == copy.episode and copy.is_copying():
                self._verified_ms = max(self._verified_ms, request.sent_ms)
                self.due = NEVER
                self._stand_at(copy.target_end)
        else:
            copy.fill_failed(request.episode, f"fill: {outcome}", doubtful=True)
        if copy.doubtful:
            self._after_answer(ProduceOutcome.UNKNOWN)

    def _after_answer(self, outcome: ProduceOutcome) -> None:
        if outcome in (DOUBTFUL if self.rules.moved_is_doubt else DOUBTFUL_TODAY):
            self._doubt_until = self.world.now_ms + DOUBT_MS

    def lose_connection(self) -> bool:
        """Lose the connection and every answer on it."""
        connection = self.connection
        if connection is None or not connection.open or not connection.unanswered:
            return False
        requests = list(connection.unanswered)
        self.world.abandon(connection)
        for request in requests:
            batch = request.work[0]
            if isinstance(batch, Fill):
                self.copy.fill_failed(request.episode, "connection lost", doubtful=True)
            else:
                self.copy.lost(batch, request.episode, "connection lost")
            self._after_answer(ProduceOutcome.UNKNOWN)
        return True

    def notice_leader(self) -> None:
        """Follow `Pump._leaders_changed`: the metadata shows that the target's leader moved."""
        if self.connection is not None and self.connection.term != self.world.target.term:
            self._settle("the target's leader moved")

    def _settle(self, detail: str) -> None:
        self.copy.settle(detail, doubtful=False)

    def succeed(self) -> None:
        """Forget the partition and begin with it anew, as after `mirror resolve`; an answer may be on its way to it."""
        if self.attaching is not None or self.copy.outstanding or self.copy.phase is Phase.FAULTED:
            return
        doubtful = self.copy.doubtful
        if doubtful:  # as `Lineup.forget` and `Lineup._begin`
            self._doubt_until = max(self._doubt_until, self.world.now_ms + DOUBT_MS)
        self.maps.forget(self.slot)
        self._begin()
        self.copy.doubtful = doubtful
        self.displaced = False  # as after a kill: who alone was told of it is gone
        self.active, self.stored_epoch = self.world.active, self.world.stored_epoch

    # -- by wish ------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Pause, as `Pump.pause`."""
        self.copy.pause()

    def unpause(self) -> None:
        """Go on, as `Pump.resume`: once no answer is outstanding."""
        if self.copy.phase is Phase.PAUSED and not self.copy.outstanding and self.attaching is None:
            self.copy.attach_again()
            self.due = NEVER

    def resolve(self) -> None:
        """Go on behind what an operator gave up, as `Pump.resume` of a faulted partition."""
        if self.copy.phase is Phase.FAULTED and not self.copy.outstanding and self.attaching is None:
            self.copy.attach_again()
            self.due = NEVER
