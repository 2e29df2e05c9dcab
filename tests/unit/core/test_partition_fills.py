"""The copy machine of one partition: fills of offsets that hold no record on the source."""

from __future__ import annotations

import pytest

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.pieces import FILL_AHEAD_MAX, Fill
from replicator.core.copy.values import Batch, Phase, TargetLimits
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.errors import BugError
from replicator.model.batch import (
    BatchHeader,
)
from replicator.model.status.states import Reason
from tests.unit.core.partition_bench import (
    ANY,
    GUARD_MS,
    answer,
    copying,
    header,
    marker,
    queue,
    send,
    unopened,
    unproven,
)
from tests.unit.core.test_partition import passed


def filling(*headers: BatchHeader) -> tuple[PartitionCopy, list[Batch]]:
    """Return a machine with these queued, and the batches."""
    copy = copying()
    return copy, queue(copy, *headers)


def test_a_fill_waits_for_what_is_before_it_and_holds_up_what_is_behind() -> None:
    """Nothing is in flight beside markers."""
    copy, (first, second) = filling(header(10, 5), marker(15, 2), header(17, 3))
    assert (send(copy), copy.fill_due()) == ([first], None)
    answer(copy, first, ProduceOutcome.ACCEPTED)

    assert (send(copy), copy.fill_due()) == ([], Fill(15, 2))
    fill = copy.begin_fill(1000)
    assert (fill, send(copy), copy.fill_due(), copy.sending.idle) == (Fill(15, 2), [], None, False)
    assert copy.filled(fill, copy.episode, 17) is None

    assert (copy.acked_offset, send(copy)) == (17, [second])


def test_a_long_fill_is_done_in_parts() -> None:
    """Each part is checked before the next."""
    copy, _ = filling(marker(10, 5))
    part = copy.begin_fill(3)
    copy.filled(part, copy.episode, 13)

    assert (part, copy.fill_due(), copy.acked_offset) == (Fill(10, 3), Fill(13, 2), 13)


def test_nothing_behind_a_very_long_fill_is_read_until_it_is_done() -> None:
    """It would hold its frames meanwhile."""
    copy, _ = filling(marker(10, FILL_AHEAD_MAX + 1))
    assert not copy.wants_more(1000)
    copy.filled(copy.begin_fill(1 << 20), copy.episode, 11 + FILL_AHEAD_MAX)

    assert copy.wants_more(1000)


def test_what_was_taken_and_is_not_queued_yet_counts_as_on_its_way() -> None:
    """The next fetch leaves before this answer is carried out: it must not read on behind a long fill."""
    copy = copying()
    (fill,), _ = copy.offer([marker(10, FILL_AHEAD_MAX + 1)], (), ANY, unopened, unproven)

    assert not copy.wants_more(1000)
    assert isinstance(fill, Fill)
    copy.fill(fill)
    assert not copy.wants_more(1000)


@pytest.mark.parametrize("log_end", [11, 13])
def test_markers_missing_or_too_many_end_the_episode_in_doubt(log_end: int) -> None:
    """Nothing may be written behind them before the logs were compared."""
    copy, _ = filling(marker(10, 2), header(12))
    ending = copy.filled(copy.begin_fill(1000), copy.episode, log_end)

    assert ending is not None
    assert (ending.before, [each.base_offset for each in ending.dropped]) == (Phase.COPYING, [12])
    assert (copy.phase, copy.doubtful, copy.sending.outstanding) == (Phase.SETTLING, True, 0)
    assert copy.detail == f"the target's log ends at {log_end} after a fill up to 12"


@pytest.mark.parametrize("doubtful", [True, False])
def test_a_failed_fill_ends_the_episode(*, doubtful: bool) -> None:
    """Refused before anything was appended, or lost."""
    copy, _ = filling(marker(10, 2))
    copy.begin_fill(1000)
    copy.fill_failed(copy.episode, "why", doubtful=doubtful)

    assert (copy.phase, copy.doubtful, copy.detail, copy.sending.idle) == (Phase.SETTLING, doubtful, "why", True)


def test_an_answer_to_a_fill_of_an_ended_episode_is_only_counted() -> None:
    """The next attach waited for it."""
    copy, _ = filling(marker(10, 2))
    fill = copy.begin_fill(1000)
    episode = copy.episode
    copy.settle("why", doubtful=False)
    assert copy.sending.outstanding == 1
    copy.filled(fill, episode, 12)

    assert (copy.sending.outstanding, copy.phase) == (0, Phase.SETTLING)


def test_while_paused_a_fill_may_still_be_acknowledged() -> None:
    """Its place is taken over; nothing else is begun."""
    copy, _ = filling(marker(10, 2))
    fill = copy.begin_fill(1000)
    copy.pause()
    copy.filled(fill, copy.episode, 12)

    assert (copy.acked_offset, copy.fill_due(), copy.phase) == (12, None, Phase.PAUSED)


def test_a_log_that_ends_in_a_hole_is_filled_to_its_end() -> None:
    """What comes behind it is compared like after any change of leader epochs."""
    copy = copying()
    copy.end_of_log(13, 4)
    copy.end_of_log(12, 5)

    assert (copy.fill_due(), copy.reading.next_offset, copy.reading.last_epoch) == (Fill(10, 3), 13, 4)
    assert passed(copy, header(13, leader_epoch=5)) == []


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_hole_above_the_limit_stops_the_partition(*, at_the_end: bool) -> None:
    """Naming the offsets and the key of the flow file."""
    copy = copying()
    copy.sending.limits = TargetLimits(1000, GUARD_MS, 100)
    if at_the_end:
        copy.end_of_log(111, 0)
    else:
        copy.offer([header(111)], (), ANY, unopened, unproven)

    assert (copy.phase, copy.reason) == (Phase.FAULTED, Reason.UNSUPPORTED_BATCH)
    assert copy.detail == ("the source has no record at the 101 offsets from 10 on, and fill_limit allows 100")


def test_what_is_left_of_a_fill_is_seen_while_a_round_of_it_is_on_its_way() -> None:
    """Nothing is due then, and nothing is forgotten either."""
    copy, _ = filling(marker(10, 20))
    fill = copy.begin_fill(5)
    assert (copy.fill_due(), copy.sending.head_fill) == (None, Fill(10, 20))
    copy.filled(fill, copy.episode, 15)
    assert copy.sending.head_fill == Fill(15, 15)
    copy.pause()
    assert copy.sending.head_fill is None


def test_a_fill_that_is_not_due_is_a_bug() -> None:
    """It would stand anywhere."""
    with pytest.raises(BugError, match="no fill is due"):
        copying().begin_fill(5)


def test_a_sequence_nobody_remembers_follows_the_offset_through_fills() -> None:
    """Until the first record: a daemon that attaches behind the fill has to choose the same."""
    copy = copying(10, state_ms=None)
    assert passed(copy, marker(10, 4), header(14, 2), marker(16), header(17)) == [(14, 14), (17, 16)]
