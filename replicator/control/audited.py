"""Changes that callers order, each written to the audit log before and after it is made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from replicator.errors import ReplicatorError, StoreError
from replicator.model.audit import AuditEntry, Phase

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
        """Return at most `limit` entries about flows that are wanted, newest last; an empty name stands for none.

        Raises:
            StoreError: They cannot be read.
        """
        ...


@dataclass(slots=True)
class Change:
    """A change that is being made; `after` is what is so once it was."""

    after: str


@contextlib.asynccontextmanager
async def audited(log: AuditPort, entry: AuditEntry) -> AsyncIterator[Change]:
    """Write down that a change is about to be made, and what became of it.

    Args:
        log: The audit log.
        entry: The change: who, what, why; `after` is what is wanted.

    Raises:
        StoreError: The intent cannot be written: nothing is done. Or the outcome cannot: it was done, and is told so.
        ReplicatorError: What the block raised, whether or not it can be written down.
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
            _log.error("the outcome of audit entry %d is not written down: %s", call, unwritten)
        raise
    try:
        await asyncio.to_thread(log.append, replace(outcome, outcome="ok", after=change.after))
    except StoreError as unwritten:
        raise StoreError(
            f"{entry.method} of {entry.flow!r} was done; only its outcome could not be written to the audit log",
            why=unwritten.why,
            next_step=unwritten.next_step,
        ) from unwritten


async def refused(log: AuditPort, entry: AuditEntry, error: ReplicatorError, left_out: int) -> None:
    """Write down that a change was not allowed, and how many like it were not told.

    It is none the more allowed where that cannot be written.
    """
    text = f"{error.what}; {left_out} more like it before were not written down" if left_out else error.what
    try:
        await asyncio.to_thread(log.append, replace(entry, phase=Phase.REFUSED, after="", error=text))
    except StoreError as unwritten:
        _log.warning("a refusal is not written down: %s", unwritten)
