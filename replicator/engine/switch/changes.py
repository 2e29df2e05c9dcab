"""Changes journals by compare-and-set: a flow's switches on its target, and the copy on its source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.engine.state.journal import copy_of, put_copy, put_switches, switches_of
from replicator.errors import BugError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.model.switch.journal import Journal, Switches


async def change_switches(log: StateLog, uid: str, change: Callable[[Switches], Switches]) -> Switches:
    """Change a flow's switches; return the result.

    Raises:
        ReplicatorError: Whatever `change` raises.
        KafkaError: The state topic cannot be changed.
    """

    def decide(records: Mapping[bytes, bytes]) -> list[Change]:
        before = switches_of(records, uid)
        after = change(before)
        return [] if after == before else put_switches(uid, after)

    records = await log.change(uid, decide)
    # In a thread: a journal of 10,000 partitions takes 60 ms to parse; the parsed form is kept for later callers.
    return await asyncio.to_thread(switches_of, records, uid)


async def change_copy(log: StateLog, uid: str, change: Callable[[Journal | None], Journal]) -> Journal:
    """Change the copy of a switch on the flow's source; return the result.

    Raises:
        ReplicatorError: Whatever `change` raises.
        KafkaError: The state topic cannot be changed.
    """

    def decide(records: Mapping[bytes, bytes]) -> list[Change]:
        before = copy_of(records, uid)
        after = change(before)
        return [] if after == before else [put_copy(uid, after)]

    copy = await asyncio.to_thread(copy_of, await log.change(uid, decide), uid)
    if copy is None:
        raise BugError("the copy of a switch is missing after it was written")
    return copy
