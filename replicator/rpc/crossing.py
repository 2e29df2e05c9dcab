"""Errors of a call become its answer: in full where they are ours, without a trace where they are bugs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from replicator.errors import BugError, ReplicatorError
from replicator.rpc import faults

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def errors_cross(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """Send any error of the block to the caller, in full if it is one of ours."""
    try:
        yield
    except ReplicatorError as error:
        await _abort(context, error)
    except Exception:  # noqa: BLE001  # the one place where the unexpected becomes an answer
        # What went wrong stays here: a traceback may show what a caller must not see.
        _log.exception("an rpc call failed unexpectedly")
        await _abort(
            context,
            BugError("the daemon failed to answer; this is a bug", next_step="see the daemon's log"),
        )


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: ReplicatorError) -> None:
    metadata = ((faults.METADATA_KEY, faults.to_wire(error)),)
    await context.abort(faults.status_code(error), error.what, metadata)
