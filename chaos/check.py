"""The verdict: independent readers read both sides, beside the ledgers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chaos.compare import Verdict, compare, find_unplaced
from chaos.compare_transactions import TransactionCheck
from chaos.ledger import Ledger, TransactionLedger, Where
from chaos.reader import Reader
from chaos.records import Run
from replicator.model.spec import Isolation


class Checker:
    """Compares topics of the two clusters, both of which are idle.

    Args:
        source: Addresses of the source.
        target: Addresses of the target.
        run: What was produced.

    Attributes:
        verdict: What was found so far.
    """

    def __init__(self, source: str, target: str, run: Run) -> None:
        self.verdict = Verdict()
        self._source, self._target, self._run = source, target, run

    def plain(self, ledger: Ledger) -> None:
        """Compare the plain topics: every offset of the target holds a record.

        Raises:
            ChaosError: A side could not be read.
        """
        with _reader(self._source) as source, _reader(self._target) as target:
            for where in self._partitions(source, target, transactional=False):
                compare(where, source.read(where), target.read(where), ledger, self._run, self.verdict)
        find_unplaced(ledger, self.verdict)

    def transactional(self, ledger: TransactionLedger) -> None:
        """Compare the topics whose records are in transactions.

        Raises:
            ChaosError: A side could not be read.
        """
        check = TransactionCheck(ledger, self._run, self.verdict)
        with (
            _reader(self._source) as whole,
            _reader(self._source, isolation=Isolation.READ_COMMITTED) as source,
            _reader(self._target) as target,
            _reader(self._target, isolation=Isolation.READ_COMMITTED) as careful,
        ):
            for where in self._partitions(whole, target, transactional=True):
                # The ends of the log: a reader with read_committed would end before a transaction that was left open.
                bounds = whole.bounds(where), target.bounds(where)
                check.partition(where, bounds, source.read(where), target.read(where))
                check.readers(where, target.read(where), careful.read(where))
        check.finish()

    def _partitions(self, source: Reader, target: Reader, *, transactional: bool) -> Iterator[Where]:
        for topic in self._run.topics:
            if topic.transactional is not transactional:
                continue
            there, here = source.partitions(topic.name), target.partitions(topic.name)
            if there != here:
                self.verdict.problems.append(f"{topic.name} has partitions {there} and {here}")
            yield from ((topic.name, number) for number in sorted({*there} & {*here}))


@contextmanager
def _reader(bootstrap: str, *, isolation: Isolation = Isolation.READ_UNCOMMITTED) -> Iterator[Reader]:
    reader = Reader(bootstrap, isolation=isolation)
    try:
        yield reader
    finally:
        reader.close()
