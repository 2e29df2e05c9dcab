"""`replicator mirror resolve`: shows what a resolution does and costs, asks, and orders exactly that."""

from __future__ import annotations

import fnmatch
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import DryRunOption, FlowArgument, ReasonOption, WaitOption
from replicator.cli.printing import output
from replicator.cli.printing.output import Column, Format
from replicator.control.port import find_mirror
from replicator.errors import DaemonUnreachable, PreflightFailed, ReplicatorError, TimedOut
from replicator.model.operations.resolution import How, ResolutionOrder
from replicator.model.status.snapshots import SCHEMA_VERSION
from replicator.model.status.states import MirrorState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicator.model.operations.resolution import Resolution
    from replicator.model.status.snapshots import FlowStatus
    from replicator.rpc.client.control_client import ControlClient

_COLUMNS = (
    Column("PARTITION", right=True),
    Column("FROM", right=True),
    Column("TO", right=True),
    Column("OFFSETS", right=True),
    Column("LOSS", folds=True),
)

HowOption = Annotated[How, typer.Option("--how", help="What to do about the fault; see docs/RUNBOOK.md.")]
PartitionOption = Annotated[
    list[int] | None,
    typer.Option("--partition", "-p", help="Only this partition; repeat for more. Default: all that have stopped."),
]
TimeoutOption = Annotated[
    str,
    typer.Option("--timeout", metavar="DURATION", help="Longest --wait, for all topics of a pattern together."),
]
_PATTERN = frozenset("*?[")
"""None of these can occur in the name of a topic."""
_REFUSALS_SHOWN_MAX = 5
_POLL_SECONDS = 0.5


def resolve(
    flow: FlowArgument,
    topic: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC",
            help="Name of the source topic, or a pattern ('*', 'eu.*') for all matching topics that have stopped.",
        ),
    ],
    *,
    how: HowOption,
    partition: PartitionOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: remote.YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "60s",
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Resolve the fault that has stopped a mirror.

    Skip what is lost, copy the topic again, or accept what is there. Shows the cost in offsets first, and then does
    exactly what was shown.
    """
    timeout_seconds = remote.duration(timeout, "--timeout") if wait else None
    order = ResolutionOrder(topic, how, tuple(partition or ()), remote.actor(), reason)
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        client.about_to_order()
        now = client.status(flow).flows[0]
        if not _PATTERN.isdisjoint(topic):
            many = _Many(client, now, order, form, timeout_seconds)
            many.resolve(yes=yes, dry_run=dry_run)
            return
        find_mirror(now, topic)
        plan = client.resolve(flow, order, dry_run=True, expected_epoch=now.epoch)
        if not plan.reasons or dry_run:
            _show(flow, topic, plan, form, "already_resolved" if not plan.reasons else "would_resolve")
            return
        asked = not yes
        if asked:
            _ask(flow, topic, {topic: plan})
        done = client.resolve(flow, replace(order, digest=plan.digest), dry_run=False, expected_epoch=now.epoch)
        if timeout_seconds is not None:
            _wait(client, flow, [topic], timeout_seconds)
    outcome = "resolved" if done.reasons else "already_resolved"
    if asked and form is Format.TABLE:  # everything was shown above the question
        output.line(f"{topic}: {outcome.replace('_', ' ')}")
        return
    _show(flow, topic, done, form, outcome)


@dataclass(slots=True)
class _Many:
    """The topics that match a pattern: each is planned and ordered on its own; a refused one does not stop others."""

    client: ControlClient
    now: FlowStatus
    order: ResolutionOrder
    form: Format
    timeout_seconds: float | None
    refused: dict[str, ReplicatorError] = field(default_factory=dict)

    def resolve(self, *, yes: bool, dry_run: bool) -> None:
        """Show what would be done to all of them, ask once, and order exactly that.

        Raises:
            PreflightFailed: There is no terminal to ask on, the answer is no, or some cannot be resolved like this.
        """
        flow, pattern = self.now.flow, self.order.topic
        stopped = [
            mirror.topic
            for mirror in self.now.mirrors
            if mirror.state is MirrorState.FAULTED and fnmatch.fnmatchcase(mirror.topic, pattern)
        ]
        plans = {topic: plan for topic in stopped if (plan := self._send(topic, None)) is not None and plan.reasons}
        if dry_run or not plans:
            self._show([(topic, plan, "would_resolve") for topic, plan in plans.items()])
            self._judge(len(stopped))
            return
        if not yes:
            _ask(flow, f"{len(plans)} topics", plans)
        done = [(topic, one) for topic, plan in plans.items() if (one := self._send(topic, plan.digest)) is not None]
        self._show([(topic, one, "resolved" if one.reasons else "already_resolved") for topic, one in done])
        if self.timeout_seconds is not None:
            try:
                _wait(self.client, flow, [topic for topic, _ in done], self.timeout_seconds)
            except TimedOut:
                for topic, error in self.refused.items():
                    output.note(f"{topic} was not resolved: {error}")
                raise
        self._judge(len(stopped))

    def _show(self, rows: Sequence[tuple[str, Resolution, str]]) -> None:
        flow = self.now.flow
        if self.form in {Format.JSON, Format.YAML}:
            topics = [{"topic": topic, "status": outcome, **asdict(plan)} for topic, plan, outcome in rows]
            output.document(self.form, {"schema_version": SCHEMA_VERSION, "flow": flow, "topics": topics})
            return
        for topic, plan, outcome in rows:
            _show(flow, topic, plan, self.form, outcome)

    def _send(self, topic: str, digest: str | None) -> Resolution | None:
        """Return what is done to one topic, or would be done (without a digest); None if it is refused."""
        order = replace(self.order, topic=topic, digest=digest)
        try:
            return self.client.resolve(self.now.flow, order, dry_run=digest is None, expected_epoch=self.now.epoch)
        except (DaemonUnreachable, TimedOut):
            raise
        except ReplicatorError as error:
            self.refused[topic] = error
            return None

    def _judge(self, count: int) -> None:
        if not count:
            output.note(f"no topic of {self.now.flow} that matches {self.order.topic!r} has stopped")
        if self.refused:
            first = [f"{topic}: {error}" for topic, error in list(self.refused.items())[:_REFUSALS_SHOWN_MAX]]
            more = len(self.refused) - len(first)
            raise PreflightFailed(
                f"{len(self.refused)} of {count} topics were not resolved by {self.order.how}",
                why="; ".join(first) + (f"; and {more} more" if more else ""),
                next_step=next(iter(self.refused.values())).next_step,
            )


def _ask(flow: str, what: str, plans: Mapping[str, Resolution]) -> None:
    """Return if the operator agrees.

    Raises:
        PreflightFailed: There is no terminal to ask on, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise PreflightFailed(
            f"no terminal to ask on whether {what} of {flow} may be resolved like this",
            next_step="look at it with --dry-run, then repeat with --yes",
        )
    for topic, plan in plans.items():
        if len(plans) > 1:
            output.line(f"{topic}:")
        _text(plan)
    if not typer.confirm("Do it?"):
        raise PreflightFailed("nothing was done", next_step="`replicator mirror describe FLOW TOPIC` shows the fault")


def _wait(client: ControlClient, flow: str, topics: Sequence[str], timeout_seconds: float) -> None:
    """Return once all of them are copied again.

    Raises:
        TimedOut: Some are not within the time, which is for all of them together.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        states = {one.topic: one.state for one in client.status(flow).flows[0].mirrors}
        left = [topic for topic in topics if states.get(topic) is not MirrorState.ACTIVE]
        if not left:
            return
        if time.monotonic() >= deadline:
            first, state = left[0], states.get(left[0], MirrorState.PENDING)
            of_many = (
                f"{len(left)} of {len(topics)} topics are not yet {MirrorState.ACTIVE}: " if len(topics) > 1 else ""
            )
            raise TimedOut(
                f"{of_many}{first} is {state}, not yet {MirrorState.ACTIVE}, after {output.age(timeout_seconds)}",
                why="the resolution is recorded and will go on",
                next_step=f"replicator mirror describe {flow} {first} --events",
            )
        time.sleep(_POLL_SECONDS)


def _show(flow: str, topic: str, resolution: Resolution, form: Format, outcome: str) -> None:
    match form:
        case Format.JSON | Format.YAML:
            document = {"schema_version": SCHEMA_VERSION, "flow": flow, "topic": topic, "status": outcome}
            output.document(form, {**document, **asdict(resolution)})
        case Format.NAME:
            output.line(f"{flow}/{topic}")
        case Format.TABLE | Format.WIDE:
            if resolution.reasons:
                _text(resolution)
            output.line(f"{topic}: {outcome.replace('_', ' ')}")


def _text(resolution: Resolution) -> None:
    output.line(f"{', '.join(resolution.reasons)}, resolved by {resolution.how}:")
    for number, step in enumerate(resolution.steps, 1):
        output.line(f"  {number}. {step}")
    if not resolution.losses:
        output.line("Nothing is lost.")
        return
    rows = [
        (str(loss.partition), str(loss.first), str(loss.end), output.number(loss.end - loss.first), loss.text)
        for loss in resolution.losses
    ]
    output.table(_COLUMNS, rows, wide=False)
