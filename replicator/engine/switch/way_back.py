"""Reopens a closed source whose target is lost."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from replicator.core.switch.machine.machine import SwitchFacts, next_step
from replicator.core.switch.machine.steps import MarkSource, ReopenSource
from replicator.core.switch.plan import status_of
from replicator.engine.state.journal import copies_to
from replicator.engine.switch.executor import Executor
from replicator.engine.switch.steps.reverse import record_on_copy, take_way_back
from replicator.errors import BugError, Conflict, TimedOut
from replicator.model.switch.journal import Journal

if TYPE_CHECKING:
    from replicator.core.switch.machine.results import Result
    from replicator.engine.switch.context import SwitchContext
    from replicator.model.spec import FlowSpec
    from replicator.model.switch.status import SwitchStatus

_WAY_BACK_SECONDS = 60.0


async def way_back_of(context: SwitchContext, target_cluster_id: str | None, why: str) -> SwitchStatus:
    """Reopen a closed source whose target was lost after the fence; return its copy of the switch.

    Only the source is asked.

    Args:
        context: What the switch works on.
        target_cluster_id: Id of the lost target: other flows of this name may go to other targets.
        why: For the record.

    Raises:
        Conflict: The target was opened, or may open any moment, or the source has no copy of a running switch.
        TimedOut: It is not done yet; the same order continues it.
        KafkaError: The source refuses.
    """
    state_log = await context.source_log()
    executor, flow = Executor(context), context.flow.name
    uid = _copied_flow(list(copies_to(state_log.records, flow, target_cluster_id)), context.flow, target_cluster_id)
    copy = await take_way_back(state_log, uid, why)
    deadline = asyncio.get_running_loop().time() + _WAY_BACK_SECONDS
    while not copy.finished:
        facts = SwitchFacts(time.time_ns() // 1_000_000)
        step = next_step(copy, facts)
        result: Result
        match step:
            case MarkSource():
                result = await executor.reverse.mark_source(uid, step)
            case ReopenSource():
                result = await executor.locks.remove(copy, step)
            case _:
                raise BugError(f"{type(step).__name__} is not a step of the way back on the source")
        copy = await record_on_copy(state_log, uid, step, result, asked=copy, facts=facts, executor=context.me)
        if asyncio.get_running_loop().time() >= deadline:
            raise TimedOut(
                f"the way back of switch {copy.id} is not complete yet",
                next_step=f"to continue, repeat the command: replicator switch abort {flow} --target-lost",
            )
    return status_of(copy, names=(context.flow.source, context.flow.target))


def _copied_flow(found: list[tuple[str, Journal]], flow: FlowSpec, target_cluster_id: str | None) -> str:
    """Return the uid of the flow whose switch has a copy on the source.

    Raises:
        Conflict: There is none, or it is unknown which of several flows of one name is meant.
    """
    if not found:
        raise Conflict(
            f"the source has no copy of a switch of flow {flow.name!r} to {flow.target}: there is no way back",
            why="" if target_cluster_id else f"while {flow.target} does not answer, its cluster id is not known",
            next_step=f"once {flow.target} answers: replicator switch abort {flow.name}; if it is lost for good, "
            f"remove the Deny rules with which the switch closed topics of {flow.source} (kafka-acls --list shows them)"
            if target_cluster_id
            else f"set clusters.{flow.target}.cluster_id in the flow file, and reload the daemon (SIGHUP)",
        )
    exact = [one for one in found if one[1].target_cluster_id]
    flows = {uid for uid, _ in exact or found}
    if len(flows) > 1:
        raise Conflict(
            f"the source has copies of switches of {len(flows)} flows named {flow.name!r}",
            why=f"their uids are {', '.join(sorted(flows))}; it is not known which of them goes to {flow.target}",
            next_step=f"bring {flow.target} back, then replicator switch abort {flow.name}",
        )
    return flows.pop()
