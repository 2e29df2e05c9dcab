"""`replicator run FILE`: the daemon."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from replicator.cli.printing.failure import report

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from replicator.model.spec import Spec

LogLevelOption = Annotated[str, typer.Option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")]


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The flow file.")],
    log_level: LogLevelOption = "INFO",
) -> None:
    """Run the flows of a file until SIGTERM.

    SIGHUP reloads the file.
    """
    # From here on, a reload request waits until the daemon can handle it; otherwise SIGHUP would end this process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    # The daemon's packages are loaded only here: every other command starts without them.
    from replicator.daemon.daemon import Daemon

    spec = prepared(file, log_level)

    async def main() -> None:
        await Daemon(spec).run()

    run_to_the_end(main())


def run_to_the_end(work: Coroutine[Any, Any, None]) -> NoReturn:
    """Run a daemon, then exit with the code of its outcome, whatever its threads still wait for.

    By then, everything worth keeping has been written and closed. The threads that are left wait for brokers, some of
    them for half a minute or longer: whoever sent SIGTERM would kill us before they could be joined.
    """
    import asyncio
    import os
    import sys

    with asyncio.Runner() as runner:
        code = 0
        try:
            runner.run(work)
        except Exception as error:  # noqa: BLE001 - reported like any other, but without the wait
            code = report(error)
        except KeyboardInterrupt:
            code = 130
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def prepared(file: Path, log_level: str) -> Spec:
    """Set up logging and return the flow file, parsed and checked.

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
