"""Ways to make both sides unequal at the end, to see that the checker notices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from confluent_kafka import Producer

from chaos.bench import Bench
from chaos.errors import ChaosError
from chaos.ledger import Ledger, Outcome, TransactionLedger

SABOTAGES = ("foreign-record", "ledger", "transaction")

_FLUSH_SECONDS_MAX = 30


def break_sides(kind: str, bench: Bench, ledgers: Sequence[Ledger], say: Callable[[str], None]) -> None:
    """Make them unequal; do nothing for an empty kind.

    Args:
        kind: One of `SABOTAGES`, or empty.
        bench: Whose.
        ledgers: The one of the plain topics first.
        say: Prints a line of progress.

    Raises:
        ChaosError: It could not be done.
    """
    if kind == "foreign-record":
        say("sabotage: a record of nobody is written to the target")
        producer = Producer({"bootstrap.servers": bench.target.bootstrap, "log_level": 0})
        producer.produce(bench.topics[0].name, b"foreign", partition=0)
        if producer.flush(_FLUSH_SECONDS_MAX):
            raise ChaosError("the foreign record could not be written")
    if kind == "ledger":
        where, numbers = next(iter(sorted(ledgers[0].acked.items())))
        say(f"sabotage: the ledger is told of another record at offset {len(numbers) // 2} of {where}")
        numbers[len(numbers) // 2] += 1
    if kind == "transaction":
        ledger = next((each for each in ledgers if isinstance(each, TransactionLedger)), None)
        if ledger is None:
            raise ChaosError("there are no transactions in this run")
        committed = [number for number, ended in ledger.outcomes.items() if ended is Outcome.COMMITTED]
        say(f"sabotage: the ledger is told that transaction {committed[len(committed) // 2]} was aborted")
        ledger.outcomes[committed[len(committed) // 2]] = Outcome.ABORTED
