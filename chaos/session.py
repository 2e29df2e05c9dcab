"""One run from its first record to its verdict."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chaos.actions import Actions, wait_settings
from chaos.bench import Bench
from chaos.check import Checker
from chaos.clients import wait_until
from chaos.errors import ChaosError
from chaos.faults import RULES, Fault
from chaos.lanes import Lanes
from chaos.ledger import TransactionLedger
from chaos.load import Load
from chaos.plan import Phase, Step
from chaos.records import Run
from chaos.report import Result
from chaos.sabotage import break_sides
from chaos.transactions import TransactionLoad
from chaos.watch import Watch

QUIET_SECONDS_MAX = 180.0
"""Longest wait, after everything is healed, until both sides end at the same offsets."""

_FIRST_SECONDS_MAX = 60.0
_SOUND_SECONDS_MAX = 60.0
_TICK_SECONDS = 0.1


@dataclass(slots=True)
class Session:
    """One run.

    Attributes:
        bench: It serves.
        run: What is produced.
        steps: What is done to it.
        result: Filled in.
        say: Prints a line of progress.
        sabotage: One of `SABOTAGES`, or empty.
    """

    bench: Bench
    run: Run
    steps: Sequence[Step]
    result: Result
    say: Callable[[str], None]
    sabotage: str = ""

    def go(self) -> None:
        """Do everything and judge.

        Raises:
            ChaosError: There is no verdict.
            DevkitError: A broker could not be run.
            KafkaException: A cluster that should answer did not.
        """
        bench = self.bench
        loads = self._loads()
        actions = Actions(bench, self.say)
        with Watch(bench.source_admin, bench.target_admin, tuple(bench.topics)) as watch, contextlib.ExitStack() as on:
            for load in loads:
                on.enter_context(load)
            try:
                self._wait_first(watch)
                self._do_steps(actions, watch)
                for load in loads:
                    load.stop()
                self._wait_quiet(watch)
                wait_settings(bench, actions.settings, _SOUND_SECONDS_MAX)
                self._wait_sound()
            finally:
                self._take_figures(loads, watch)
        break_sides(self.sabotage, bench, [load.ledger for load in loads], self.say)
        self._judge(loads)

    def _loads(self) -> list[Load | TransactionLoad]:
        """Return what writes to the topics of the run."""
        bootstrap = self.bench.source.bootstrap
        loads: list[Load | TransactionLoad] = [Load(bootstrap, self.run)]
        if any(topic.transactional for topic in self.run.topics):
            loads.append(TransactionLoad(bootstrap, self.run))
        return loads

    def _judge(self, loads: Sequence[Load | TransactionLoad]) -> None:
        checker = Checker(self.bench.source.bootstrap, self.bench.target.bootstrap, self.run)
        for load in loads:
            if isinstance(load.ledger, TransactionLedger):
                checker.transactional(load.ledger)
            else:
                checker.plain(load.ledger)
        verdict, result = checker.verdict, self.result
        result.checked, result.deleted, result.filled = verdict.records, verdict.deleted, verdict.filled
        result.unknown_found = verdict.unknown_found
        result.problems += verdict.problems
        result.equal = verdict.equal

    def _wait_first(self, watch: Watch) -> None:
        """Wait until the copy of every topic has begun: before that there is nothing to disturb."""
        names = {topic.name for topic in self.bench.topics}
        wait_until(
            "a first record of each topic is copied",
            lambda: {topic for (topic, _), end in dict(watch.target).items() if end > 0} == names,
            _FIRST_SECONDS_MAX,
            "read the daemons' logs",
        )

    def _do_steps(self, actions: Actions, watch: Watch) -> None:
        """Give out each step at its time, and wait until the last one is done."""
        used: Counter[str] = Counter()

        def do(step: Step) -> None:
            if not actions.do(step):
                return
            if step.phase is Phase.BEGIN:
                used[str(step.fault)] += 1
            if step.phase is Phase.END or RULES[step.fault].seconds is None:
                watch.healed(step.fault)
            if (step.fault, step.phase) == (Fault.FLOW_PAUSE, Phase.END):
                watch.resumed()

        lanes = Lanes(do)
        began = time.monotonic()
        try:
            for step in self.steps:
                self._tick_until(lanes, began + step.at_seconds)
                lanes.give(step)
            self._tick_until(lanes, began + self.result.minutes * 60)
            lanes.finish()
        finally:
            lanes.close()
            self.result.faults = dict(used)
            self.result.unplaced = list(actions.unplaced)

    def _tick_until(self, lanes: Lanes, until: float) -> None:
        """Look after everything until a time of the monotonic clock."""
        while True:
            self.bench.supervise()
            lanes.check()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_TICK_SECONDS, left))

    def _wait_quiet(self, watch: Watch) -> None:
        """Wait until both sides end at the same offsets.

        Raises:
            ChaosError: They do not within the bound; names the partitions, and what the daemons say of them.
        """
        began = time.monotonic()
        watch.load_ended.set()
        self.say("everything is healed and the load has ended; waiting for the copy")
        names = [topic.name for topic in self.bench.topics]

        def same() -> bool:
            self.bench.supervise()
            there, here = self.bench.source_admin.ends(names), self.bench.target_admin.ends(names)
            return bool(there) and there == here and watch.all_recovered()

        try:
            wait_until("both sides end at the same offsets", same, QUIET_SECONDS_MAX, "read the daemons' logs")
        except ChaosError as error:
            behind = ", ".join(
                f"{topic}[{number}] {here} of {there}" for (topic, number), (here, there) in watch.lag().items()
            )
            raise ChaosError(error.what, why="; ".join([behind, *self._stopped()]), next_step=error.next_step) from None
        self.result.drain_seconds = round(time.monotonic() - began, 1)

    def _wait_sound(self) -> None:
        """Wait until no daemon has a partition that stands still: what was a wait has to end by itself."""
        try:
            # Both sides are equal already: what stands still now would not copy the next record.
            wait_until("no partition stands still", lambda: not self._stopped(), _SOUND_SECONDS_MAX, "")
        except ChaosError:
            self.result.unsound += self._stopped()

    def _stopped(self) -> list[str]:
        found = []
        for daemon in self.bench.daemons:
            try:
                found += daemon.stopped()
            except OSError as error:
                found.append(f"{daemon.name} does not answer: {error}")
        return found

    def _take_figures(self, loads: Sequence[Load | TransactionLoad], watch: Watch) -> None:
        result = self.result
        for daemon in self.bench.daemons:
            daemon.child.sample()
        result.unsound += self.bench.exits
        result.take_recoveries(watch.recoveries)
        for load in loads:
            result.take_ledger(load.ledger)
        result.cpu_seconds = round(sum(daemon.child.cpu_seconds for daemon in self.bench.daemons), 2)
        result.peak_rss_megabytes = round(max(daemon.child.peak_rss_bytes for daemon in self.bench.daemons) / 1e6, 1)
