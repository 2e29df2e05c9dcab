"""Why a flow ended by itself."""

from __future__ import annotations

from replicator.errors import ReplicatorError


def why_ended(error: BaseException) -> str:
    """Return why a flow ended, as one line; of several reasons at once that which nobody expected."""
    cause = first_cause(error)
    if isinstance(cause, ReplicatorError):
        return cause.with_next_step()
    return f"a bug: {type(cause).__name__}: {cause}; next: restart the daemon, and report it with the daemon's log"


def first_cause(error: BaseException) -> BaseException:
    """Return what is inside an exception group: what nobody expected comes before errors of ours."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [first_cause(one) for one in error.exceptions]
    return next((one for one in causes if not isinstance(one, ReplicatorError)), causes[0])
