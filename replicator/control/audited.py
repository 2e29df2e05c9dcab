"""Changes that callers order, each written to the audit log before and after it is made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from replicator.errors import ReplicatorError, StoreError
from replicator.model.operations.audit import AuditEntry, Phase

_log = logging.getLogger(__name__)


class AuditPort(Protocol):
    """Where entries are kept; its methods may block for a write to the disk."""

    def append(self, entry: AuditEntry) -> int:
        """Write an entry down; return its number.

        Raises:
            StoreError: It cannot be written.
        """
        ...

    def recent(self, wanted: Callable[[str], bool], limit: int) -> Sequence[AuditEntry]:
        """Return at most `limit` entries about wanted flows, newest last; an empty name means an entry about no flow.

        Raises:
            StoreError: They cannot be read.
        """
        ...


@dataclass(slots=True)
class Change:
    """A change that is being made; `after` describes the result."""

    after: str


@contextlib.asynccontextmanager
async def audited(log: AuditPort, entry: AuditEntry) -> AsyncIterator[Change]:
    """Record that a change is about to be made, and then its outcome.

    Args:
        log: The audit log.
        entry: The change: who, what, why; `after` is the wanted result.

    Raises:
        StoreError: The intent cannot be written: nothing is done. Or the outcome cannot: it was done, and says so.
        ReplicatorError: What the block raised, whether or not it can be recorded.
    """
    call = await asyncio.to_thread(log.append, replace(entry, phase=Phase.INTENT))
    change = Change(entry.after)
    outcome = replace(entry, phase=Phase.OUTCOME, call=call)
    try:
        yield change
    except BaseException as error:
        why = error.what if isinstance(error, ReplicatorError) else type(error).__name__
        try:
            await asyncio.to_thread(log.append, replace(outcome, outcome="failed", after="", error=why))
        except StoreError as unwritten:
            _log.error("the outcome of audit entry %d could not be written: %s", call, unwritten)
        raise
    try:
        await asyncio.to_thread(log.append, replace(outcome, outcome="ok", after=change.after))
    except StoreError as unwritten:
        raise StoreError(
            f"{entry.method} of {entry.flow!r} was done, but its outcome could not be written to the audit log",
            why=unwritten.why,
            next_step=unwritten.next_step,
        ) from unwritten


async def record_refusal(log: AuditPort, entry: AuditEntry, error: ReplicatorError, left_out: int) -> None:
    """Record that a change was not allowed, and how many similar refusals went unrecorded.

    The change stays refused even if that cannot be written.
    """
    text = f"{error.what}; {left_out} similar refusals before it were not recorded" if left_out else error.what
    try:
        await asyncio.to_thread(log.append, replace(entry, phase=Phase.REFUSED, after="", error=text))
    except StoreError as unwritten:
        _log.warning("a refusal could not be written to the audit log: %s", unwritten)
