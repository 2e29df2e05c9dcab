"""The verdict on a topic whose records are in transactions: some of its offsets hold no record, on purpose.

The source is read as a reader of committed records sees it, the target as one that sees everything: what is aborted on
the source must not be a record on the target at all. An offset of the target may be without a record exactly where the
source's reader sees none; below the source's log start, where the ledger knows of no committed one.

Words beside those of `compare`: *aborted* (seen, though nobody ever asked for its commit), *half* (some records of a
transaction of unknown outcome are seen, others are not), *hidden* (not every reader of the target sees the same).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from chaos.compare import Verdict
from chaos.ledger import Outcome, TransactionLedger, Where
from chaos.reader import Bounds, Entry
from chaos.records import Record, Run, number_of, transaction_of

_PROBLEMS_MAX = 5


class TransactionCheck:
    """Compares all partitions of one run's transactions.

    Args:
        ledger: What the source said.
        run: What was produced.
        verdict: Added to.
    """

    def __init__(self, ledger: TransactionLedger, run: Run, verdict: Verdict) -> None:
        self._ledger = ledger
        self._run = run
        self._verdict = verdict
        self._seen: Counter[int] = Counter()
        """Transaction of unknown outcome to how many of its records stand on the target."""

    def partition(
        self, where: Where, bounds: tuple[Bounds, Bounds], source: Iterable[Entry], target: Iterable[Entry]
    ) -> None:
        """Compare one partition.

        Args:
            where: Which.
            bounds: Of both logs, the source's first.
            source: What a reader of committed records sees.
            target: What a reader of everything sees.
        """
        self._add(where, list(self._problems(where, bounds, source, target)))

    def readers(self, where: Where, whole: Iterable[Entry], committed: Iterable[Entry]) -> None:
        """Compare what the two kinds of readers of the target see: nothing there is in a transaction any more."""
        for one, other in zip_longest(whole, committed):
            if one != other:
                self._add(where, [f"hidden: one reader sees {one}, one of committed records {other}"])
                return

    def finish(self) -> None:
        """Compare what only all partitions together tell: a transaction is seen as a whole, or not at all."""
        if not self._ledger.count(Outcome.COMMITTED):
            self._verdict.problems.append("no transaction was committed: nothing was proven")
        for transaction, seen in sorted(self._seen.items()):
            sent = self._ledger.numbers.get(transaction, 0)
            if seen != sent:
                self._verdict.problems.append(f"half: {seen} of {sent} records of transaction {transaction} are seen")

    def _add(self, where: Where, found: list[str]) -> None:
        # Read to the end all the same: a count that stops early would make whole transactions look like halves.
        more = [f"and {len(found) - _PROBLEMS_MAX} more"] if len(found) > _PROBLEMS_MAX else []
        self._verdict.problems += [f"{where[0]}[{where[1]}] {text}" for text in found[:_PROBLEMS_MAX] + more]

    def _problems(
        self, where: Where, bounds: tuple[Bounds, Bounds], source: Iterable[Entry], target: Iterable[Entry]
    ) -> Iterator[str]:
        there, here = bounds
        yield from _differing_ends(there, here)
        theirs = iter(source)
        left = next(theirs, None)
        expected = 0
        for offset, record in target:
            while left is not None and left[0] < offset:
                yield f"lost: the source has {left}, the target has nothing there"
                left = next(theirs, None)
            yield from self._hole(where, expected, offset)
            expected = offset + 1
            yield from self._against_ledger(where, offset, record)
            if left is not None and left[0] == offset:
                if left[1] != record:
                    yield f"different at {offset}: source {left[1]}, target {record}"
                left = next(theirs, None)
            elif offset < there.start:
                self._verdict.deleted += 1
            else:
                yield f"phantom at {offset}: a reader of the source sees none there, target {record}"
        yield from (f"lost: the source has {entry}, the target ends" for entry in _rest(left, theirs))
        yield from self._hole(where, expected, max(here.end, self._ledger.end(where)))

    def _hole(self, where: Where, begin: int, end: int) -> Iterator[str]:
        """Look at offsets of the target that hold no record."""
        for offset in range(begin, end):
            number = self._ledger.committed_at(where, offset)
            if number is None:
                self._verdict.filled += 1
            else:
                yield f"lost at {offset}: number {number} was committed there"

    def _against_ledger(self, where: Where, offset: int, record: Record) -> Iterator[str]:
        verdict, ledger = self._verdict, self._ledger
        verdict.records += 1
        verdict.value_bytes += len(record.value or b"")
        number = ledger.at(where, offset)
        # A commit is asked for only when all records are acknowledged: one that was not may never be seen.
        said = number_of(record.value) if number is None else number
        outcome = None if said is None else ledger.outcome_of(said)
        if outcome is Outcome.ABORTED:
            yield f"aborted at {offset}: number {said} is seen"
        elif number is None or outcome is None:
            yield f"phantom at {offset}: {record}"
            return
        elif outcome is Outcome.UNKNOWN:
            verdict.unknown_found += 1
            self._seen[transaction_of(number) or 0] += 1
        if number is not None and (self._run.topic_of(number).name != where[0] or self._run.record(number) != record):
            yield f"different at {offset}: sent was number {number}, {self._run.record(number)}, target {record}"


def _differing_ends(there: Bounds, here: Bounds) -> Iterator[str]:
    if there.end != here.end:
        yield f"end: the source's log ends at {there.end}, the target's at {here.end}"
    if here.start:
        yield f"start: the target's log begins at {here.start}, it has to hold everything"


def _rest(first: Entry | None, others: Iterator[Entry]) -> Iterator[Entry]:
    if first is not None:
        yield first
        yield from others
