"""What the source said: which number it acknowledged at which offset, and how each transaction ended.

An unknown outcome is a third one: a record whose delivery failed may stand in the log or not, and both are right. So
is a transaction whose commit got no answer, but all of its records share one fate.
"""

from __future__ import annotations

import enum
from array import array
from dataclasses import dataclass, field

from chaos.errors import ChaosError
from chaos.records import transaction_of

_NONE = -1

Where = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class Ledger:
    """What the source said.

    Attributes:
        acked: Per partition, the number at each offset; -1 where nothing was acknowledged.
        unknown: Numbers whose delivery failed, and why.
        unplaced: Numbers that were acknowledged without an offset, and the partition; they are somewhere in it.
        records: How many were acknowledged.
        value_bytes: Sizes of their values, together.
    """

    acked: dict[Where, array[int]] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)
    unplaced: dict[int, Where] = field(default_factory=dict)
    records: int = 0
    value_bytes: int = 0

    def note(self, where: Where, offset: int, number: int) -> None:
        """Note an acknowledgement.

        Raises:
            ChaosError: Another record was acknowledged at that offset: the source itself is not sound.
        """
        numbers = self.acked.setdefault(where, array("q"))
        numbers.extend([_NONE] * (offset + 1 - len(numbers)))
        if numbers[offset] not in {_NONE, number}:
            raise ChaosError(f"the source acknowledged two records at {where} offset {offset}")
        numbers[offset] = number
        self.records += 1

    def note_unplaced(self, where: Where, number: int) -> None:
        """Note an acknowledgement that does not tell the offset.

        A batch that is sent again once its answer was lost may be older than the few that a broker remembers of each
        producer. It is then answered with DUPLICATE_SEQUENCE_NUMBER: the records are there, and nobody knows where.
        """
        self.unplaced[number] = where
        self.records += 1

    def at(self, where: Where, offset: int) -> int | None:
        """Return the number acknowledged at an offset, None if none was."""
        numbers = self.acked.get(where)
        if numbers is None or offset >= len(numbers) or numbers[offset] == _NONE:
            return None
        return numbers[offset]

    def end(self, where: Where) -> int:
        """Return the offset after the last one that was acknowledged."""
        return len(self.acked.get(where, ()))


class Outcome(enum.StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    """The source said so: every reader of the target has to see every record."""
    ABORTED = "aborted"
    """Nobody ever asked for its commit: no reader of the target may see a record."""
    UNKNOWN = "unknown"
    """Its commit was asked for, and what came of it was not told: all of its records are seen, or none."""


@dataclass(slots=True)
class TransactionLedger(Ledger):
    """The same of records in transactions: an acknowledged one counts only where its transaction was committed.

    Attributes:
        outcomes: Transaction to how it ended.
        numbers: Transaction to how many records it holds, where it may have been committed.
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)

    def outcome_of(self, number: int) -> Outcome | None:
        """Return how the transaction of a record ended, None if there was no such transaction."""
        transaction = transaction_of(number)
        return None if transaction is None else self.outcomes.get(transaction)

    def committed_at(self, where: Where, offset: int) -> int | None:
        """Return the number that every reader has to see at an offset, None if there is none."""
        number = self.at(where, offset)
        return number if number is not None and self.outcome_of(number) is Outcome.COMMITTED else None

    def count(self, outcome: Outcome) -> int:
        """Return how many transactions ended so."""
        return sum(1 for ended in self.outcomes.values() if ended is outcome)
