"""The fence: from then on the target refuses every write of this flow that is still on its way.

It is one control marker under a higher producer epoch in every target partition. From then on a broker refuses the old
epoch there, whoever sends it and whenever (KAFKA_FACTS K10). It counts only once *every* partition shows the higher
epoch: an epoch from the transaction coordinator stops nothing by itself.

Markers go in bulk (WriteTxnMarkers) where that is allowed, otherwise by one empty transaction of the data id. A second
marker of the same epoch does a fence no harm, so after a lost answer missing markers are simply written again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from replicator.core.copy.attaching.facts import Role
from replicator.engine.logs.reading import read_batches
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.engine.state.ownership.shown_markers import empty_transaction, known_to_coordinator
from replicator.errors import KafkaError, PreflightFailed, TimedOut
from replicator.model.names import TopicPartition, data_transactional_id
from replicator.model.spec import Isolation
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages import control
from replicator.wire.messages.data.markers import write_markers
from replicator.wire.messages.data.transactions import ProducerIdentity, Transaction, init_producer_id
from replicator.wire.messages.rights_probe import Verdict, may_write_markers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.wire.transport.connection import Connection

COPIES_WITH_THE_FLOW = frozenset({pb.WRITER_ROLE_UNSPECIFIED, pb.WRITER_ROLE_COPYING})
"""Roles of a mirror's own with which it is switched as a part of its flow."""
EPOCH_MAX = 32_766
"""Kafka reserves the last one; a producer whose epochs are used up gets a new id."""
_PARTITIONS_PER_REQUEST = 500
_POLL_SECONDS = 0.05
_POLL_SECONDS_MAX = 1.0
_ALIVE_EVERY_MS = 24 * 3_600_000
R = TypeVar("R")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CompletedFence:
    """A complete fence.

    Attributes:
        epoch: The least epoch that every partition shows.
        ends: Where the log of each partition ends, after its marker.
    """

    epoch: int
    ends: Mapping[TopicPartition, int]


async def coordinator_epoch(target: Cluster, uid: str, producer_id: int) -> int | None:
    """Return the least epoch that a fence must have; None if any will do (markers in bulk are allowed).

    A fence by transactions needs an epoch from the transaction coordinator; asking for it fences nothing yet.

    Raises:
        PreflightFailed: The data id has another producer by now, so none of its transactions can fence this flow.
        KafkaError: The target refuses.
    """
    verdict = await may_write_markers(await target.any_connection())
    if verdict is Verdict.ALLOWED:
        return None
    identity = await init_producer_id(target, data_transactional_id(uid))
    if identity.producer_id != producer_id:
        raise PreflightFailed(
            f"{data_transactional_id(uid)} now has producer {identity.producer_id}, not the flow's {producer_id}",
            why="the target forgot the id while it was unused, or its epochs were used up",
            next_step=f"grant ClusterAction on cluster {target.spec.alias}: a fence by bulk markers needs no id",
        )
    return identity.producer_epoch


class FenceWriter:
    """A fence of one epoch on one cluster.

    Args:
        target: The cluster.
        uid: The flow.
        producer_id: Whose writes are fenced.
        epoch: The epoch of the fence.
        in_bulk: Whether markers go in bulk; with None the target is asked each time.
    """

    def __init__(self, target: Cluster, uid: str, producer_id: int, epoch: int, *, in_bulk: bool | None = None) -> None:
        self._in_bulk = in_bulk
        self._target = target
        self._uid = uid
        self._producer_id = producer_id
        self._epoch = epoch
        self._now = asyncio.get_running_loop().time

    async def stand(self, partitions: Collection[TopicPartition], seconds: float) -> CompletedFence:
        """Append a marker wherever the epoch does not show, until it shows everywhere.

        Raises:
            TimedOut: Some partition does not show it yet; another call continues.
            KafkaError: The target refuses.
        """
        deadline = self._now() + seconds
        pause = _POLL_SECONDS
        while True:
            missing, unseen = await self.missing(partitions)
            if not missing and not unseen:
                return CompletedFence(self._epoch, await self._ends(partitions))
            if self._now() >= deadline:
                where = min([*missing, *unseen])
                raise TimedOut(
                    f"{len(missing) + len(unseen)} partitions do not show epoch {self._epoch} yet, for example {where}",
                    why="no leader, or it does not answer" if unseen else "their markers are not there yet",
                    next_step="repeat the command to continue",
                )
            try:
                await self._append(missing)
            except KafkaError as error:
                if not error.retryable:
                    raise
                log.warning("fence not complete yet", why=str(error))
            await asyncio.sleep(pause)
            pause = min(_POLL_SECONDS_MAX, pause * 2)

    async def missing(
        self, partitions: Collection[TopicPartition]
    ) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Return the partitions that do not show the epoch, and those whose leaders could not be asked.

        Raises:
            KafkaError: The target cannot be reached at all.
        """
        shown = await self._shown(partitions)
        unseen = [where for where in partitions if where not in shown]
        return [where for where, epoch in shown.items() if epoch is None or epoch < self._epoch], unseen

    async def _shown(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        """Return the epoch that each partition shows of our producer, None for no trace of it."""
        await self._target.refresh(sorted({where.topic for where in partitions}))
        found: dict[TopicPartition, int | None] = {}
        for answer in await self._on_leaders(partitions, self._shown_by):
            found.update(answer)
        return found

    async def _shown_by(
        self, connection: Connection, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int | None]:
        described = await control.describe_producers(connection, partitions)
        if described is None:
            return {where: await self._last_marker(connection, where) for where in partitions}
        return {
            where: next((one.producer_epoch for one in producers if one.producer_id == self._producer_id), None)
            for where, (code, producers) in described.items()
            if not code
        }

    async def _last_marker(self, connection: Connection, where: TopicPartition) -> int | None:
        """Return the epoch of our marker at the end of a log, for brokers that cannot describe producers."""
        ends = await control.list_offsets(connection, [where], control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
        if ends[where].error or not ends[where].value:
            return None
        side = Side(self._target, self._target.topic_ids)
        _, headers = await read_batches(side, connection, where, ends[where].value - 1)
        ours = [one.producer_epoch for one in headers if one.is_control and one.producer_id == self._producer_id]
        return max(ours, default=None)

    async def _append(self, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return
        in_bulk = self._in_bulk
        if in_bulk is None:
            in_bulk = await may_write_markers(await self._target.any_connection()) is Verdict.ALLOWED
        if in_bulk:
            await self._on_leaders(partitions, self._mark)
            return
        identity = ProducerIdentity(self._producer_id, self._epoch)
        transaction = Transaction(self._target, data_transactional_id(self._uid), identity)
        await transaction.add(*partitions)
        await transaction.end(commit=False)

    async def _mark(self, connection: Connection, partitions: list[TopicPartition]) -> None:
        codes = await write_markers(connection, self._producer_id, self._epoch, dict.fromkeys(partitions, 1))
        bad = {where: code for where, code in codes.items() if code}
        if bad:  # the next look shows whether they are there
            log.debug("markers refused", epoch=self._epoch, codes={str(where): code for where, code in bad.items()})

    async def _ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        async def ask(connection: Connection, some: list[TopicPartition]) -> dict[TopicPartition, int]:
            answers = await control.list_offsets(connection, some, control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
            return {where: answer.value for where, answer in answers.items() if not answer.error}

        ends: dict[TopicPartition, int] = {}
        for answer in await self._on_leaders(partitions, ask):
            ends.update(answer)
        return ends

    async def _on_leaders(
        self, partitions: Iterable[TopicPartition], ask: Callable[[Connection, list[TopicPartition]], Awaitable[R]]
    ) -> list[R]:
        """Ask each partition's leader, many partitions at a time; leave out those whose leader is missing or silent."""
        by_node: dict[int, list[TopicPartition]] = defaultdict(list)
        for where in partitions:
            leader = self._target.leader(where)
            if leader is not None:
                by_node[leader.node].append(where)

        async def on(node: int, some: list[TopicPartition]) -> list[R]:
            answers: list[R] = []
            try:
                connection = await self._target.connection(node, Purpose.CONTROL)
                for first in range(0, len(some), _PARTITIONS_PER_REQUEST):
                    answers.append(await ask(connection, some[first : first + _PARTITIONS_PER_REQUEST]))  # noqa: PERF401
            except KafkaError as error:
                if not error.retryable:
                    raise
                log.debug("broker not asked", node=node, why=str(error))
            return answers

        return [one for answers in await asyncio.gather(*(on(*item) for item in by_node.items())) for one in answers]


async def keep_data_id_alive(target: Cluster, state_log: StateLog, uid: str, now_ms: int) -> bool:
    """Use the data id once a day, so that the target does not forget it (7 days idle); return whether it was due.

    Runs an empty transaction on the state topic, under the present epoch: InitProducerId would raise the epoch.

    Raises:
        KafkaError: The target refuses.
        Conflict: The id has a different epoch by now.
    """
    record = state.get_writer_record(state_log.records, uid)
    if not is_due(record.kept_alive_ms, now_ms):
        return False
    identity = ProducerIdentity(record.producer_id, known_to_coordinator(record))
    await empty_transaction(target, data_transactional_id(uid), identity)

    def decide(records: Mapping[bytes, bytes]) -> list[Change]:
        now = state.get_writer_record(records, uid)
        now.kept_alive_ms = now_ms
        return [state.put(state.writer_key(uid), now)]

    await state_log.change(uid, decide)
    return True


def is_due(last_ms: int, now_ms: int) -> bool:
    """Return whether a day has passed; a clock that went back counts as a day."""
    return not 0 <= now_ms - last_ms < _ALIVE_EVERY_MS


def role_text(role: Role) -> str:
    """Return what a role means to an operator."""
    return {
        Role.COPYING: "it copies",
        Role.FENCING: "a switch is under way: copying has stopped",
        Role.PROMOTED: "the target is the open side: nothing is copied to it",
    }[role]
