"""The checker sees every way in which a copy of transactions can be wrong, and nothing where it is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from chaos.compare import Verdict
from chaos.compare_transactions import TransactionCheck
from chaos.ledger import Outcome, TransactionLedger
from chaos.reader import Bounds, Entry
from chaos.records import TOPICS, TRANSACTIONS, Record, Run, numbers_of, transaction_of

RUN = Run((*TOPICS, TRANSACTIONS), begun_ms=1_700_000_000_000, per_second=100)
WHERES = [(TRANSACTIONS.name, number) for number in range(2)]
BIG = [transaction for transaction in range(100) if len(numbers_of(transaction)) >= 6][:4]
FIRST, ABORTED, UNKNOWN, LAST = BIG
OUTCOMES = {
    FIRST: Outcome.COMMITTED,
    ABORTED: Outcome.ABORTED,
    UNKNOWN: Outcome.UNKNOWN,
    LAST: Outcome.COMMITTED,
}


@dataclass
class Case:
    """What both clusters and the ledger hold; each partition ends with a marker."""

    source: list[list[Entry]] = field(default_factory=lambda: [[], []])
    target: list[list[Entry]] = field(default_factory=lambda: [[], []])
    starts: list[int] = field(default_factory=lambda: [0, 0])
    ends: list[int] = field(default_factory=lambda: [0, 0])
    ledger: TransactionLedger = field(default_factory=TransactionLedger)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Number to its partition and offset."""

    def __post_init__(self) -> None:
        log_ends = [0, 0]
        for transaction, outcome in OUTCOMES.items():
            self.ledger.outcomes[transaction] = outcome
            self.ledger.numbers[transaction] = len(numbers_of(transaction))
            for number in numbers_of(transaction):
                partition = number % 2
                self.ledger.note(WHERES[partition], log_ends[partition], number)
                self.places[number] = (partition, log_ends[partition])
                log_ends[partition] += 1
            log_ends = [end + 1 for end in log_ends]
        self.ends = log_ends
        for transaction in (FIRST, LAST):
            self.show(transaction)

    def show(self, transaction: int) -> None:
        """Let the readers of both sides see a transaction."""
        for number in numbers_of(transaction):
            partition, offset = self.places[number]
            for side in (self.source, self.target):
                side[partition] = sorted([*side[partition], (offset, RUN.record(number))])

    def judge(self, *, target_ends: tuple[int, int] | None = None) -> Verdict:
        """Compare everything."""
        verdict = Verdict()
        check = TransactionCheck(self.ledger, RUN, verdict)
        for at, where in enumerate(WHERES):
            source = [entry for entry in self.source[at] if entry[0] >= self.starts[at]]
            bounds = Bounds(self.starts[at], self.ends[at]), Bounds(0, (target_ends or self.ends)[at])
            check.partition(where, bounds, source, self.target[at])
        check.finish()
        return verdict


def test_equal() -> None:
    """The aborted one and the markers are offsets without a record."""
    case = Case()
    verdict = case.judge()

    assert verdict.equal
    assert verdict.records == len(numbers_of(FIRST)) + len(numbers_of(LAST))
    assert verdict.records + verdict.filled == sum(case.ends)


def test_an_unknown_transaction_may_be_either_but_whole() -> None:
    """All of its records or none: over all partitions, and also where both sides agree on a half."""
    case = Case()
    case.show(UNKNOWN)
    assert case.judge().equal
    assert case.judge().unknown_found == len(numbers_of(UNKNOWN))

    for side in (case.source, case.target):
        side[1] = [entry for entry in side[1] if transaction_at(case, 1, entry[0]) != UNKNOWN]
    assert [text.split(":")[0] for text in case.judge().problems] == ["half"]


def test_what_the_source_deleted_is_compared_with_the_ledger() -> None:
    """Below the log start, holes are right where the ledger knows of nothing committed, and nowhere else."""
    case = Case()
    case.starts = list(case.ends)
    verdict = case.judge()
    assert verdict.equal
    assert verdict.deleted == verdict.records

    del case.target[0][1]
    assert "lost" in case.judge().problems[0]


def test_a_log_that_starts_between_records() -> None:
    """From the source's log start on the source decides, also before its first record."""
    case = Case()
    number = numbers_of(ABORTED)[0]
    partition, offset = case.places[number]
    case.starts[partition] = offset
    assert case.judge().equal

    case.target[partition] = sorted([*case.target[partition], (offset, RUN.record(number))])
    assert any("phantom" in text for text in case.judge().problems)


def transaction_at(case: Case, partition: int, offset: int) -> int | None:
    """Return the transaction whose record was acknowledged there."""
    number = case.ledger.at(WHERES[partition], offset)
    return None if number is None else transaction_of(number)


def _lost(case: Case) -> None:
    del case.target[0][1]


def _lost_last(case: Case) -> None:
    case.target[1].pop()


def _lost_on_both(case: Case) -> None:
    del case.source[0][1], case.target[0][1]


def _lost_last_on_both(case: Case) -> None:
    case.source[1].pop()
    case.target[1].pop()


def _phantom(case: Case) -> None:
    # Where the source has a marker.
    case.target[0].append((case.ends[0] - 1, Record(1, 1, None, b"foreign", ())))


def _phantom_on_both(case: Case) -> None:
    _phantom(case)
    case.source[0] = list(case.target[0])


def _aborted(case: Case) -> None:
    number = numbers_of(ABORTED)[0]
    partition, offset = case.places[number]
    case.target[partition] = sorted([*case.target[partition], (offset, RUN.record(number))])


def _aborted_on_both(case: Case) -> None:
    case.show(ABORTED)


def _aborted_of_unknown_fate(case: Case) -> None:
    # Its delivery was never acknowledged, it stands at a marker's offset, and the source agrees.
    entry = (case.ends[0] - 1, RUN.record(numbers_of(ABORTED)[0]))
    case.source[0].append(entry)
    case.target[0].append(entry)


def _unknown_on_the_source_alone(case: Case) -> None:
    # The ledger cannot tell: only the source knows that it was committed.
    kept = [list(entries) for entries in case.target]
    case.show(UNKNOWN)
    case.target = kept


def _last_unknown_on_the_source_alone(case: Case) -> None:
    case.ledger.outcomes[LAST] = Outcome.UNKNOWN
    for at, entries in enumerate(case.target):
        case.target[at] = [entry for entry in entries if transaction_at(case, at, entry[0]) != LAST]


def _unknown_on_the_target_alone(case: Case) -> None:
    kept = [list(entries) for entries in case.source]
    case.show(UNKNOWN)
    case.source = kept


def _half(case: Case) -> None:
    number = numbers_of(UNKNOWN)[0]
    partition, offset = case.places[number]
    for side in (case.source, case.target):
        side[partition] = sorted([*side[partition], (offset, RUN.record(number))])


def _shifted(case: Case) -> None:
    case.target[0] = [(offset + 1, record) for offset, record in case.target[0]]


def _different(case: Case) -> None:
    case.target[0][0] = (case.target[0][0][0], case.target[0][1][1])


def _different_on_the_source(case: Case) -> None:
    case.source[0][0] = (case.source[0][0][0], case.source[0][1][1])


def _different_on_both(case: Case) -> None:
    _different(case)
    case.source[0] = list(case.target[0])


@pytest.mark.parametrize(
    ("break_it", "word"),
    [
        (_lost, "lost"),
        (_lost_last, "lost"),
        (_lost_on_both, "lost"),
        (_lost_last_on_both, "lost"),
        (_unknown_on_the_source_alone, "lost"),
        (_last_unknown_on_the_source_alone, "lost"),
        (_unknown_on_the_target_alone, "phantom"),
        (_phantom, "phantom"),
        (_phantom_on_both, "phantom"),
        (_aborted, "aborted"),
        (_aborted_on_both, "aborted"),
        (_aborted_of_unknown_fate, "aborted"),
        (_half, "half"),
        (_shifted, "different"),
        (_different, "different"),
        (_different_on_both, "different"),
        (_different_on_the_source, "different"),
    ],
)
def test_every_harm_is_seen(break_it: Callable[[Case], None], word: str) -> None:
    """And called by its name."""
    case = Case()
    break_it(case)
    verdict = case.judge()

    assert not verdict.equal
    assert any(f" {word}" in f" {text}" for text in verdict.problems)


def test_what_follows_a_lost_record_is_not_blamed() -> None:
    """What both sides hold behind it is the same."""
    case = Case()
    _unknown_on_the_source_alone(case)

    assert all(" lost" in text or text.startswith("and ") for text in case.judge().problems)


def test_markers_at_the_end_have_to_be_filled() -> None:
    """No reader sees the difference, a log's end does."""
    case = Case()
    verdict = case.judge(target_ends=(case.ends[0] - 1, case.ends[1]))

    assert [text.split()[1] for text in verdict.problems] == ["end:"]


def test_a_target_that_forgot_its_start() -> None:
    """Retention of the source is not the target's."""
    verdict = Verdict()
    check = TransactionCheck(TransactionLedger(), RUN, verdict)
    check.partition(WHERES[0], (Bounds(2, 2), Bounds(2, 2)), [], [])

    assert verdict.problems[0].split()[1] == "start:"


def test_every_reader_of_the_target_sees_the_same() -> None:
    """A committed reader that sees less, or something else, is told."""
    case = Case()
    entries = case.target[0]
    for committed in (entries[:-1], entries[1:], [*entries[:2], *entries[3:]]):
        verdict = Verdict()
        TransactionCheck(case.ledger, RUN, verdict).readers(WHERES[0], entries, committed)
        assert "hidden" in verdict.problems[0]

    verdict = Verdict()
    TransactionCheck(case.ledger, RUN, verdict).readers(WHERES[0], entries, list(entries))
    assert not verdict.problems


def test_a_long_list_of_problems_is_cut() -> None:
    """Counted, not printed."""
    case = Case()
    case.target = [[], []]
    problems = case.judge().problems

    assert len(problems) == 12
    assert problems[5].endswith(" more")


def test_nothing_committed_has_proven_nothing() -> None:
    """Whatever the plain topics hold."""
    verdict = Verdict(records=10)
    TransactionCheck(TransactionLedger(), RUN, verdict).finish()

    assert not verdict.equal
