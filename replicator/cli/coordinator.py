"""`replicator coordinator FILE`: grants leases to daemons, and copies nothing itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from replicator.cli.run import LogLevelOption, prepared, run_to_the_end


def command(
    file: Annotated[Path, typer.Argument(help="The flow file; its daemon.rpc is where this answers.")],
    log_level: LogLevelOption = "INFO",
) -> None:
    """Coordinate the daemons that name this one in coordinator.endpoints, until SIGTERM."""
    from replicator.daemon.coordinator import coordinate

    run_to_the_end(coordinate(prepared(file, log_level)))
