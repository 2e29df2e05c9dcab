"""Changes that callers order, each written to the audit log before and after it is made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import grpc.aio

from replicator.errors import ReplicatorError
from replicator.model.audit import AuditEntry, Phase


class AuditPort(Protocol):
    """Where entries are kept; its methods may block for a write to the disk."""

    def append(self, entry: AuditEntry) -> int:
        """Write an entry down; return its number.

        Raises:
            StoreError: It cannot be written.
        """
        ...

    def recent(self, flow: str | None, limit: int) -> Sequence[AuditEntry]:
        """Return at most `limit` entries, of one flow if it is given, newest last.

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
    """
    call = await asyncio.to_thread(log.append, replace(entry, phase=Phase.INTENT))
    change = Change(entry.after)
    outcome = replace(entry, phase=Phase.OUTCOME, call=call)
    try:
        yield change
    except BaseException as error:
        why = error.what if isinstance(error, ReplicatorError) else type(error).__name__
        await asyncio.to_thread(log.append, replace(outcome, outcome="failed", after="", error=why))
        raise
    await asyncio.to_thread(log.append, replace(outcome, outcome="ok", after=change.after))


async def refused(log: AuditPort, entry: AuditEntry, error: ReplicatorError) -> None:
    """Write down that a change was not allowed. What keeps the log from being written does not make it allowed."""
    await asyncio.to_thread(log.append, replace(entry, phase=Phase.REFUSED, after="", error=error.what))


def peer_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the address that a call came from."""
    return str(context.peer())
