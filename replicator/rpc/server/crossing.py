"""Errors of a call become its answer: in full if they are ours, without a stack trace if they are bugs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from replicator.errors import BugError, ReplicatorError, TimedOut
from replicator.rpc.convert import faults

_SHARE_OF_TIME = 0.9

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def errors_cross(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """Send any error of the block to the caller, in full if it is one of ours."""
    try:
        async with _in_time(context):
            yield
    except ReplicatorError as error:
        await _abort(context, error)
    except Exception:  # noqa: BLE001  # the one place where the unexpected becomes an answer
        # The details stay here: a traceback may show what the caller must not see.
        _log.exception("an rpc call failed unexpectedly")
        await _abort(
            context,
            BugError("the daemon failed to answer; this is a bug", next_step="see the daemon's log"),
        )


@contextlib.asynccontextmanager
async def _in_time(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """End the block a little before the caller stops waiting, who would otherwise learn only that nobody answered.

    Raises:
        TimedOut: The block was cancelled.
    """
    remaining_seconds: float | None = context.time_remaining()  # None without a deadline; its stubs do not say so
    seconds = None if remaining_seconds is None else remaining_seconds * _SHARE_OF_TIME
    try:
        async with asyncio.timeout(seconds) as bound:
            yield
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise TimedOut(
            f"the daemon has no answer after {seconds or 0.0:.0f} s",
            why="most likely it waits for a cluster; whether an order took effect is not known, but "
            "repeating the same order is safe",
            next_step="see which cluster does not answer: replicator flow status",
        ) from error


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: ReplicatorError) -> None:
    metadata = ((faults.METADATA_KEY, faults.to_wire(error)),)
    await context.abort(faults.status_code(error), faults.details_of(error), metadata)
