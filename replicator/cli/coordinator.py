"""`replicator coordinator FILE`: grants leases to daemons; copies nothing itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from replicator.cli.run import LogLevelOption, prepared, run_to_the_end


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The flow file; it listens on daemon.rpc.")],
    log_level: LogLevelOption = "INFO",
) -> None:
    """Run a coordinator, which grants leases to daemons.

    It serves the daemons that list it in coordinator.endpoints, and runs until SIGTERM.
    """
    from replicator.daemon.coordinator import coordinate

    run_to_the_end(coordinate(prepared(file, log_level)))
