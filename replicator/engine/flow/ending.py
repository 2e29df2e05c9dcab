"""Why a flow ended without being stopped."""

from __future__ import annotations

from replicator.errors import BugError, ReplicatorError
from replicator.model.status.states import Reason


def why_ended(error: BaseException) -> str:
    """Return why a flow ended, as one line; if there are several errors, the most unexpected one."""
    cause = first_cause(error)
    if isinstance(cause, ReplicatorError) and not isinstance(cause, BugError):
        return cause.with_next_step()
    what = str(cause) if isinstance(cause, BugError) else f"{type(cause).__name__}: {cause}"
    return f"{Reason.INTERNAL_ERROR}: {what}; next: report it with the daemon's log"


def first_cause(error: BaseException) -> BaseException:
    """Return the error inside an exception group; an unexpected one comes before errors of ours."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [first_cause(one) for one in error.exceptions]
    return next((one for one in causes if not isinstance(one, ReplicatorError)), causes[0])
