"""`replicator mirror resolve`: tells what a resolution does and costs, asks, and orders exactly that."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import output, remote
from replicator.cli.flow import DryRunOption, FlowArgument, ReasonOption, TimeoutOption, WaitOption
from replicator.cli.output import Column, Format
from replicator.errors import PreflightFailed
from replicator.model.resolution import How, Order
from replicator.model.states import MirrorState
from replicator.model.status import SCHEMA_VERSION
from replicator.rpc.port import find_mirror

if TYPE_CHECKING:
    from replicator.model.resolution import Resolution
    from replicator.rpc.client import ControlClient

_COLUMNS = (
    Column("PARTITION", right=True),
    Column("FROM", right=True),
    Column("TO", right=True),
    Column("OFFSETS", right=True),
    Column("LOSS", folds=True),
)

HowOption = Annotated[How, typer.Option("--how", help="What to do about the fault; README lists what helps when.")]
PartitionOption = Annotated[
    list[int] | None,
    typer.Option("--partition", "-p", help="Only this partition; repeat for more. Default: all that stand still."),
]


def resolve(
    flow: FlowArgument,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the source topic.")],
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
    """Resolve the fault of a mirror: skip what is lost, copy it anew, or accept what is there.

    What it costs is told in offsets first. Nothing but what was told is done.
    """
    timeout_seconds = remote.duration(timeout, "--timeout") if wait else None
    order = Order(topic, how, tuple(partition or ()), remote.actor(), reason)
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        now = client.status(flow).flows[0]
        find_mirror(now, topic)
        told = client.resolve(flow, order, dry_run=True, expected_epoch=now.epoch)
        if not told.reasons or dry_run:
            _show(flow, topic, told, form, "already_resolved" if not told.reasons else "would_resolve")
            return
        asked = not yes
        if asked:
            _confirm(flow, topic, told)
        done = client.resolve(flow, replace(order, digest=told.digest), dry_run=False, expected_epoch=now.epoch)
        if timeout_seconds is not None:
            _wait(client, flow, topic, timeout_seconds)
    outcome = "resolved" if done.reasons else "already_resolved"
    if asked and form is Format.TABLE:  # all of it stands above the question
        output.line(f"{topic}: {outcome.replace('_', ' ')}")
        return
    _show(flow, topic, done, form, outcome)


def _confirm(flow: str, topic: str, told: Resolution) -> None:
    """Return if the operator agrees.

    Raises:
        PreflightFailed: There is nobody to ask, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise PreflightFailed(
            f"nobody can be asked whether {topic} of {flow} may be resolved like this",
            next_step="look at it with --dry-run, then repeat with --yes",
        )
    _text(told)
    if not typer.confirm("Do it?"):
        raise PreflightFailed("nothing was done", next_step="`replicator mirror describe` shows the fault")


def _wait(client: ControlClient, flow: str, topic: str, timeout_seconds: float) -> None:
    def state() -> MirrorState:
        mirror = next((one for one in client.status(flow).flows[0].mirrors if one.topic == topic), None)
        return mirror.state if mirror is not None else MirrorState.PENDING

    remote.wait_until(
        MirrorState.ACTIVE,
        state,
        timeout_seconds,
        what=topic,
        why="the resolution is recorded and goes on",
        next_step=f"replicator mirror describe {flow} {topic} --events",
    )


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
