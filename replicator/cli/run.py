"""`replicator run FILE`: the daemon."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from replicator.cli.failure import tell

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from replicator.model.spec import Spec

LogLevelOption = Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")]


def command(
    file: Annotated[Path, typer.Argument(help="The flow file.")],
    log_level: LogLevelOption = "INFO",
) -> None:
    """Run the flows of a file until SIGTERM; SIGHUP reads the file again."""
    # A reload that is asked for from here on waits until the daemon can do it; it would end this process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    # The daemon's packages are loaded here only: every other command starts without them.
    from replicator.daemon.daemon import Daemon

    spec = prepared(file, log_level)

    async def main() -> None:
        await Daemon(spec).run()

    run_to_the_end(main())


def run_to_the_end(work: Coroutine[Any, Any, None]) -> NoReturn:
    """Run a daemon, then end this process with the code of its outcome, whatever its threads still wait for.

    All that is to be kept was written and closed by then. What is left are threads that wait for brokers, some of them
    for half a minute and longer: whoever sent SIGTERM would kill us before they are joined.
    """
    import asyncio
    import os
    import sys

    with asyncio.Runner() as runner:
        code = 0
        try:
            runner.run(work)
        except Exception as error:  # noqa: BLE001 - told like any other, but without the wait
            code = tell(error)
        except KeyboardInterrupt:
            code = 130
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def prepared(file: Path, log_level: str) -> Spec:
    """Set up logging and return what the file means.

    Raises:
        UsageError: There is no such log level.
        ConfigError: The file has mistakes.
    """
    import os

    from replicator.config.load import load
    from replicator.errors import UsageError
    from replicator.obs import logs

    try:
        logs.configure(level=log_level.upper())
    except ValueError as error:
        raise UsageError(f"there is no log level {log_level!r}", next_step="DEBUG, INFO, WARNING or ERROR") from error
    return load(file, os.environ)
