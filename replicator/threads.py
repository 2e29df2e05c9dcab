"""Blocking calls of a cluster, in threads of that cluster: one that hangs keeps nobody else's calls from theirs.

The event loop's own pool is for short work on this machine. A call to a broker may hang for as long as its time-out,
and as many as that pool has threads would hold up the logins to every healthy cluster.
"""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_THREADS_MAX = 4
"""Of one kind of call to one cluster."""

P = ParamSpec("P")
R = TypeVar("R")

_pools: dict[str, ThreadPoolExecutor] = {}
_making = Lock()


async def in_threads(pool: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what `work` returns, run in one of the few threads of a pool; raise what it raises.

    Whoever is cancelled waits no longer: work that has begun goes on in its thread, work that has not is dropped.

    Args:
        pool: Its name: what the work is, and of which cluster.
        work: What is to be done.
        *args: Its arguments.
        **kwargs: The same, by name.
    """
    # With the context of the caller, so that log lines in there are of the same flow.
    bound = partial(contextvars.copy_context().run, partial(work, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_pool(pool), bound)


def _pool(name: str) -> ThreadPoolExecutor:
    with _making:
        pool = _pools.get(name)
        if pool is None:
            pool = _pools[name] = ThreadPoolExecutor(_THREADS_MAX, thread_name_prefix=name)
        return pool
