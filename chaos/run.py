"""``python -m chaos.run``: random faults on real Kafka clusters and daemons, then a check of every record.

Exit status: 0 when both sides and the ledger of the producer are equal; 1 when they are not, or a daemon ended by
itself, or a partition stands still at the end; 2 when the command line cannot be meant; 3 when there is no verdict.
Logs and data are kept unless it is 0, but for what was on small disks: those go with the processes.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from rich.console import Console

from benchmarks.measure import describe_commit
from chaos.bench import Bench, Shape
from chaos.disks import enter_private_mounts
from chaos.errors import ChaosError
from chaos.faults import RULES, Fault, Snapshot, usable
from chaos.plan import PLAN_SECONDS_MIN, Step, plan
from chaos.records import TOPICS, TRANSACTIONS, Run
from chaos.report import Result, append_line, show
from chaos.sabotage import SABOTAGES
from chaos.session import Session
from chaos.toxiproxy import ensure_server
from replicator.errors import ReplicatorError

PASSED, FAILED, NO_VERDICT = 0, 1, 3

_TARGET_NODES = 3
_PER_SECOND = 600


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit status."""
    arguments = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything ends in order
    console = Console(soft_wrap=True)
    directory = Path(tempfile.mkdtemp(prefix="replicator-chaos-"))
    result = Result(arguments.seed, arguments.minutes, describe_commit(), arguments.daemons, arguments.source_brokers)
    status = NO_VERDICT
    try:
        _run(arguments, directory, result)
        status = PASSED if result.passed else FAILED
    except (ReplicatorError, KafkaException, OSError, subprocess.SubprocessError) as error:
        result.problems.append(str(error))
        next_step = getattr(error, "next_step", "") or f"read the logs in {directory}"
        print(f"error: {error}\nnext: {next_step}", file=sys.stderr)
    except KeyboardInterrupt:
        result.problems.append("interrupted")
    finally:
        if status == PASSED and not arguments.keep:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"logs: {directory}", file=sys.stderr)
    show(result, console)
    if arguments.results is not None:
        append_line(result, arguments.results)
    return status


def _run(arguments: argparse.Namespace, directory: Path, result: Result) -> None:
    """Plan, make a bench, go.

    Raises:
        ReplicatorError: There is no verdict.
        KafkaException: There is no verdict: a cluster that should answer did not.
        OSError: There is no verdict: the machine refused something.
    """
    no_disks = ""
    if any(RULES[fault].needs_disks for fault in arguments.faults):
        no_disks = enter_private_mounts()
    server, no_toxics = None, ""
    if any(RULES[fault].needs_toxics for fault in arguments.faults):
        try:
            server = ensure_server()
        except ChaosError as error:
            no_toxics = f"{error}; {error.next_step}"
    topics = TOPICS if arguments.no_transactions else (*TOPICS, TRANSACTIONS)
    snapshot = Snapshot(arguments.daemons, arguments.source_brokers, _TARGET_NODES, len(topics), no_toxics, no_disks)
    faults, left_out = usable(snapshot, arguments.faults)
    result.left_out = {str(fault): why for fault, why in left_out.items()}
    for fault, why in result.left_out.items():
        say(f"left out: {fault}: {why}")
    steps = plan(random.Random(arguments.seed), snapshot, faults, arguments.minutes * 60, apart_seconds=arguments.apart)
    shape = Shape(
        source_nodes=arguments.source_brokers,
        target_nodes=_TARGET_NODES,
        daemons=arguments.daemons,
        toxiproxy=server,
        target_disks=_places(steps, Fault.TARGET_DISK),
        state_disks=_places(steps, Fault.STATE_DISK),
        seed=arguments.seed,
    )
    say(f"seed {arguments.seed}: {len(steps)} steps in {arguments.minutes:g} min; logs in {directory}")
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(Bench(directory, shape, topics))
        run = Run(topics, time.time_ns() // 1_000_000, arguments.rate)
        Session(bench, run, steps, result, say, arguments.sabotage).go()


def _places(steps: Sequence[Step], fault: Fault) -> frozenset[int]:
    return frozenset(step.place for step in steps if step.fault is fault)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.run", description="Random faults, then a check.")
    every = ",".join(Fault)
    parser.add_argument("--seed", type=int, default=None, help="makes the same plan again; random if not given")
    parser.add_argument("--minutes", type=float, default=3.0, help="length of the faults (3)")
    parser.add_argument("--faults", type=_faults, default=tuple(Fault), help=f"some of: {every}; `none` for none")
    parser.add_argument("--daemons", type=int, choices=(1, 2), default=2, help="daemons of the one flow (2)")
    parser.add_argument("--source-brokers", type=int, choices=(1, 2, 3), default=3, help="nodes of the source (3)")
    parser.add_argument("--rate", type=int, default=_PER_SECOND, help=f"records per second ({_PER_SECOND})")
    parser.add_argument("--apart", type=float, default=0.0, help="one fault at a time, so many seconds apart (0: off)")
    parser.add_argument("--no-transactions", action="store_true", help="leave the transactional topic out")
    parser.add_argument("--keep", action="store_true", help="keep data and logs, also of a run that is equal")
    parser.add_argument("--results", type=Path, help="add the result to this file, as a line of JSON")
    parser.add_argument("--sabotage", choices=SABOTAGES, default="", help="break it at the end: the check must fail")
    arguments = parser.parse_args(argv)
    if arguments.minutes * 60 < PLAN_SECONDS_MIN:
        parser.error(f"--minutes: at least {PLAN_SECONDS_MIN / 60:.2f}, or some faults have no room")
    if arguments.apart < 0:
        parser.error("--apart: seconds, 0 or more")
    if arguments.no_transactions and arguments.sabotage == "transaction":
        parser.error("--sabotage transaction: there is none with --no-transactions")
    if arguments.rate < 1:
        parser.error("--rate: at least 1")
    if arguments.seed is None:
        arguments.seed = secrets.randbelow(1_000_000)
    return arguments


def _faults(text: str) -> tuple[Fault, ...]:
    if text == "none":
        return ()
    try:
        return tuple(dict.fromkeys(Fault(name.strip()) for name in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; faults are: {', '.join(Fault)}") from None


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
