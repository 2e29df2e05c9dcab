"""`replicator run FILE`: the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="The flow file.")],
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Run the flows of a file until SIGTERM; SIGHUP reads the file again."""
    # The daemon's packages are loaded here only: every other command starts without them.
    import asyncio
    import os

    from replicator.config.load import load
    from replicator.daemon.daemon import Daemon
    from replicator.errors import UsageError
    from replicator.obs import logs

    try:
        logs.configure(level=log_level.upper())
    except ValueError as error:
        raise UsageError(f"there is no log level {log_level!r}", next_step="DEBUG, INFO, WARNING or ERROR") from error
    spec = load(file, os.environ)

    async def main() -> None:
        await Daemon(spec).run()

    asyncio.run(main())
