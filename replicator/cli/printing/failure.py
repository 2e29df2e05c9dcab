"""How an error that ends a command is printed."""

from __future__ import annotations

import sys

from replicator.errors import BugError, ConfigError, ReplicatorError
from replicator.model.text import printable


def report(error: Exception) -> int:
    """Print the error that ended a command, with the stack if it is a bug, and return the exit code.

    To be called where the error is caught.
    """
    known = error if isinstance(error, ReplicatorError) else BugError(f"unexpected {type(error).__name__}: {error}")
    sys.stderr.write(describe(known))
    if isinstance(known, BugError):
        _write_traceback()
    return known.exit_code


def describe(error: ReplicatorError) -> str:
    """Return an error's what, why and next as lines; a configuration error with each of its problems."""
    lines = [f"error: {error.what}"]
    if isinstance(error, ConfigError):
        lines += [f"  {problem}" for problem in error.problems]
    if error.why:
        lines.append(f"why: {error.why}")
    if isinstance(error, BugError):
        lines.append("why: this is a bug in replicator, not your mistake")
    if error.next_step:
        lines.append(f"next: {error.next_step}")
    elif isinstance(error, BugError):
        lines.append("next: please report it with the text below")
    return printable("\n".join(lines) + "\n", lines=True)


def _write_traceback() -> None:
    import traceback  # only when something is broken

    traceback.print_exc(file=sys.stderr)
