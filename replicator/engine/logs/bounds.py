"""Log starts and log ends, as reported by the leaders."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from replicator.engine.logs.refusals import broker_error
from replicator.engine.logs.side import Side
from replicator.errors import ConnectionFailed, KafkaError, ProtocolError
from replicator.model.spec import Isolation
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control
from replicator.wire.protocol.faults import error_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster
    from replicator.wire.transport.connection import Connection


async def offsets_of(
    connection: Connection,
    wanted: Sequence[TopicPartition],
    timestamp: int,
    *,
    isolation: Isolation = Isolation.READ_UNCOMMITTED,
) -> dict[TopicPartition, int]:
    """Return the start (`control.EARLIEST`) or end (`control.LATEST`) of logs that share a leader; all or none.

    Raises:
        KafkaError: The broker refuses any of them, or does not answer for it.
    """
    answers = await control.list_offsets(connection, wanted, timestamp, isolation=isolation)
    out: dict[TopicPartition, int] = {}
    for where in wanted:
        answer = answers.get(where)
        if answer is None:
            raise ProtocolError(f"no offset of {where} in the response", cluster=connection.cluster.alias)
        if answer.error:
            raise broker_error(connection.cluster, "ListOffsets", answer.error, where.topic)
        out[where] = answer.value
    return out


async def own_ends_of(
    side: Side, connection: Connection, wanted: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return each leader's own log end, replicated or not, where it is known.

    A leader answers an OffsetForLeaderEpoch for its current epoch with its log end (Kafka's LeaderEpochFileCache);
    ListOffsets would only return the high watermark.
    """
    epochs: dict[TopicPartition, int] = {}
    for where in wanted:
        leader = side.cluster.leader(where)
        if leader is not None and leader.epoch >= 0:
            epochs[where] = leader.epoch
    if not epochs:
        return {}
    answers = await control.epoch_ends(connection, epochs)
    return {
        where: end for where, (code, epoch, end) in answers.items() if not code and epoch == epochs[where] and end >= 0
    }


async def starts_of(
    side: Side,
    wanted: Iterable[TopicPartition],
    *,
    timeout_seconds: float | None = None,
    silent: set[int] | None = None,
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
    """Return the log starts that the leaders report, and for each of the other partitions why it is unknown.

    Args:
        side: Whose logs.
        wanted: Which partitions.
        timeout_seconds: How long each broker may take; None for the usual request time-out.
        silent: Brokers that did not answer before and are skipped; those that do not answer now are added.
    """
    return await _ask_leaders(side.cluster, wanted, control.EARLIEST, timeout_seconds, silent=silent)


async def ends_of(
    cluster: Cluster,
    wanted: Iterable[TopicPartition],
    *,
    isolation: Isolation = Isolation.READ_UNCOMMITTED,
    timeout_seconds: float | None = None,
    silent: set[int] | None = None,
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
    """Return the log ends that the leaders report, and for each of the other partitions why it is unknown.

    Args:
        cluster: Whose logs.
        wanted: Which partitions.
        isolation: With `read_committed` last stable offsets are returned, else high watermarks.
        timeout_seconds: How long each broker may take; None for the usual request time-out.
        silent: Brokers that did not answer before and are skipped; those that do not answer now are added.
    """
    return await _ask_leaders(cluster, wanted, control.LATEST, timeout_seconds, isolation=isolation, silent=silent)


async def at_time(
    cluster: Cluster,
    wanted: Iterable[TopicPartition],
    time_ms: int,
    *,
    isolation: Isolation,
    timeout_seconds: float | None = None,
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
    """Return the first offset whose record has that time (Unix, ms) or a later one; -1 if there is none.

    Args:
        cluster: Whose logs.
        wanted: Which partitions.
        time_ms: 0 or more.
        isolation: With `read_committed` only offsets below the last stable offset count.
        timeout_seconds: How long each broker may take; None for the usual request time-out.

    Returns:
        The offsets, and for each of the other partitions why it is unknown.
    """
    return await _ask_leaders(cluster, wanted, time_ms, timeout_seconds, isolation=isolation)


async def _ask_leaders(
    cluster: Cluster,
    wanted: Iterable[TopicPartition],
    timestamp: int,
    timeout_seconds: float | None,
    *,
    isolation: Isolation = Isolation.READ_UNCOMMITTED,
    silent: set[int] | None = None,
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
    silent = set() if silent is None else silent
    by_leader: dict[int, list[TopicPartition]] = defaultdict(list)
    unseen: dict[TopicPartition, str] = {}
    for where in wanted:
        leader = cluster.leader(where)
        if leader is None:
            unseen[where] = "it has no leader now"
        elif leader.node in silent:
            unseen[where] = f"broker {leader.node} does not answer"
        else:
            by_leader[leader.node].append(where)
    found: dict[TopicPartition, int] = {}

    async def ask(node: int, parts: list[TopicPartition]) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                connection = await cluster.connection(node, Purpose.CONTROL)
                answers = await control.list_offsets(connection, parts, timestamp, isolation=isolation)
        except (KafkaError, TimeoutError) as error:
            if isinstance(error, ConnectionFailed | TimeoutError):
                silent.add(node)
            unseen.update(dict.fromkeys(parts, str(error) or f"no answer of broker {node} in time"))
            return
        for where in parts:
            answer = answers.get(where)
            if answer is None or answer.error:
                unseen[where] = error_name(answer.error) if answer else "no answer"
            else:
                found[where] = answer.value

    await asyncio.gather(*(ask(node, parts) for node, parts in by_leader.items()))
    return found, unseen
