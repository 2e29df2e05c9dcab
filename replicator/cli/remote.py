"""What every command that talks to a daemon shares: options, the connection, watching."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli.printing import output
from replicator.errors import PreflightFailed, TimedOut, UsageError
from replicator.model.spec import RPC_ADDRESS
from replicator.model.status.snapshots import DaemonStatus
from replicator.model.units import format_address, parse_duration

if TYPE_CHECKING:
    from enum import StrEnum

    from replicator.rpc.client.control_client import ControlClient

WATCH_DEFAULT = "2s"
_POLL_SECONDS = 0.5

AddressOption = Annotated[
    str,
    typer.Option("--address", envvar="REPLICATOR_ADDRESS", metavar="HOST:PORT", help="Address of a daemon."),
]
CaOption = Annotated[
    Path | None,
    typer.Option("--tls-ca", envvar="REPLICATOR_TLS_CA", help="CA of the daemon's certificate."),
]
CertOption = Annotated[
    Path | None, typer.Option("--tls-cert", envvar="REPLICATOR_TLS_CERT", help="Client certificate.")
]
KeyOption = Annotated[
    Path | None, typer.Option("--tls-key", envvar="REPLICATOR_TLS_KEY", help="Key of the client certificate.")
]
WatchOption = Annotated[
    str | None,
    typer.Option(
        "--watch", "-w", metavar="[INTERVAL]", help=f"Refresh every INTERVAL, {WATCH_DEFAULT} if none is given."
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

ADDRESS = format_address(RPC_ADDRESS)
TOKEN_FILE = "REPLICATOR_TOKEN_FILE"  # noqa: S105 - where it is, not what it is
"""Names the file with the token that orders carry on this machine; by default the daemon says where it is."""


@contextlib.contextmanager
def connect(address: str, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None) -> Iterator[ControlClient]:
    """Open a client for the block; nothing is sent until it is used.

    Raises:
        UsageError: The address is not one, or the TLS files do not go together.
    """
    # Otherwise gRPC's C core reports failed handshakes on standard error, next to our own message.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from replicator.rpc.client.control_client import ControlClient  # grpc takes 100 ms
    from replicator.rpc.client.endpoint import Endpoint

    token = os.environ.get(TOKEN_FILE)
    endpoint = Endpoint(address, tls_ca, tls_cert, tls_key, token_file=Path(token) if token else None)
    with ControlClient(endpoint) as client:
        yield client


def show(
    client: ControlClient, flow: str | None, watch: str | None, view: Callable[[DaemonStatus, bool], None]
) -> None:
    """Call `view` with one snapshot, or repeatedly if watching; its second argument says which.

    Raises:
        UsageError: The interval is not a duration.
    """
    if watch is None:
        view(client.status(flow), False)
        return
    for status in client.watch(duration(watch, "--watch"), flow):
        output.fresh_screen()
        view(status, True)


def confirmed(question: str, *, next_step: str) -> None:
    """Return if the operator says yes.

    Raises:
        PreflightFailed: There is no terminal to ask on, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise PreflightFailed(f"no terminal to ask on: {question}", next_step=next_step)
    if not typer.confirm(question):
        raise PreflightFailed("nothing was done")


def wait_until(
    wanted: StrEnum, ask: Callable[[], StrEnum], timeout_seconds: float, *, what: str, why: str, next_step: str
) -> None:
    """Return once `ask` returns the wanted state.

    Args:
        wanted: The state.
        ask: Asks the daemon for the current state.
        timeout_seconds: How long to wait.
        what: Subject of the state, for the error.
        why: What happens to the change that was ordered.
        next_step: The command to continue with.

    Raises:
        TimedOut: The state was not reached in time; the change itself stands.
    """
    deadline = time.monotonic() + timeout_seconds
    while (state := ask()) is not wanted:
        if time.monotonic() >= deadline:
            raise TimedOut(
                f"{what} is {state}, not yet {wanted}, after {output.age(timeout_seconds)}",
                why=why,
                next_step=next_step,
            )
        time.sleep(_POLL_SECONDS)


def duration(text: str, option: str) -> float:
    """Return the seconds of an option's value.

    Raises:
        UsageError: It is not a duration.
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def actor() -> str:
    """Return who we are as far as this machine knows; with mutual TLS the daemon uses the certificate instead."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
