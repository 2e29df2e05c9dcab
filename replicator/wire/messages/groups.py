"""Groups of one cluster: lists them, and reads and writes their commits at their coordinators.

One request asks a coordinator about many groups (OffsetFetch v8, KIP-709; FindCoordinator v4, KIP-699); brokers before
3.0 are asked group by group.
What a share group has instead of commits is in `share_groups`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kio.schema.describe_groups.v5.request import DescribeGroupsRequest
from kio.schema.describe_groups.v5.response import DescribeGroupsResponse
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v4.request import FindCoordinatorRequest
from kio.schema.find_coordinator.v4.response import FindCoordinatorResponse
from kio.schema.list_groups.v4.request import ListGroupsRequest
from kio.schema.list_groups.v4.response import ListGroupsResponse
from kio.schema.list_groups.v5.request import ListGroupsRequest as ListGroupsRequestV5
from kio.schema.list_groups.v5.response import ListGroupsResponse as ListGroupsResponseV5
from kio.schema.offset_commit.v8 import request as commit_request
from kio.schema.offset_commit.v8.response import OffsetCommitResponse
from kio.schema.offset_fetch.v7.request import OffsetFetchRequest
from kio.schema.offset_fetch.v7.response import OffsetFetchResponse
from kio.schema.offset_fetch.v8 import request as fetch_request
from kio.schema.offset_fetch.v8.response import OffsetFetchResponse as OffsetFetchResponseV8
from kio.schema.types import GroupId, TopicName
from kio.static.primitive import i32, i64

from replicator.errors import KafkaError
from replicator.model.names import TopicPartition
from replicator.model.status.groups import Committed, GroupKind, Listed
from replicator.wire.cluster import Purpose
from replicator.wire.messages.data.transactions import GROUP_KEY, coordinator_node, patiently
from replicator.wire.protocol.faults import broker_error, missing_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from replicator.wire.cluster import Cluster
    from replicator.wire.transport.connection import Connection

_OFFSET_FETCH: Final = 9
_FIND_COORDINATOR: Final = 10
_LIST_GROUPS: Final = 16

_PATIENCE_SECONDS = 5.0
_NONE = -1
_GROUPS_PER_REQUEST = 50
"""Their response is decoded at once, 1 ms for a group of many partitions; between requests the copy continues."""
_KEYS_PER_REQUEST = 500
_DESCRIBED_PER_REQUEST = 10
_COMMIT_PARTITIONS_MAX = 1000
_COMMIT_BYTES_MAX = 256 << 10
"""For one OffsetCommit: its broker appends all of it as one batch, which may have 1 MB unless somebody raised that."""
_COMMIT_OVERHEAD_BYTES = 100

Commits = dict[TopicPartition, Committed]
T = TypeVar("T")
R = TypeVar("R")


class Groups:
    """The groups of one cluster, as their coordinators report them.

    Every method may raise:
        KafkaError: The cluster refuses, or cannot be reached.
        TimedOut: A coordinator did not become ready within a few seconds.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._nodes: dict[str, int] = {}

    # -- listing ----------------------------------------------------------------------------------------------------

    async def listed(self) -> dict[str, Listed]:
        """Return every group that this user may see. A group that moves to another broker meanwhile may be missing."""
        await self.cluster.refresh([])
        nodes = sorted(self.cluster.brokers)
        answers = await asyncio.gather(
            *(patiently(self._listing(node), "ListGroups", _PATIENCE_SECONDS) for node in nodes)
        )
        found: dict[str, Listed] = {}
        for node, groups in zip(nodes, answers, strict=True):
            for name, listed in groups.items():
                found[name] = listed
                self._nodes[name] = node
        return found

    def _listing(self, node: int) -> Callable[[], Awaitable[dict[str, Listed]]]:
        async def once() -> dict[str, Listed]:
            connection = await self.cluster.connection(node, Purpose.CONTROL)
            if connection.versions.offers(_LIST_GROUPS, 5):
                found = await connection.call(ListGroupsRequestV5(), ListGroupsResponseV5)
                self._check("ListGroups", found.error_code, f"broker {node}")
                return {str(one.group_id): Listed(_kind(one.group_type), one.group_state) for one in found.groups}
            answer = await connection.call(ListGroupsRequest(), ListGroupsResponse)
            self._check("ListGroups", answer.error_code, f"broker {node}")
            # Before KIP-848 there was one kind.
            return {str(one.group_id): Listed(GroupKind.CLASSIC, one.group_state) for one in answer.groups}

        return once

    # -- commits ----------------------------------------------------------------------------------------------------

    async def committed(self, groups: Iterable[str]) -> dict[str, Commits | KafkaError]:
        """Return the commits of each group for all its topics, or why they cannot be read.

        A group that does not exist has no commits. Offsets of a transaction that is still open do not count.
        The broker silently leaves out topics that this user may not describe.
        """
        return await self.by_coordinator(groups, _GROUPS_PER_REQUEST, "OffsetFetch", self._committed)

    async def _committed(self, connection: Connection, groups: Sequence[str]) -> dict[str, Commits | ErrorCode]:
        if not connection.versions.offers(_OFFSET_FETCH, 8):
            return {group: await _committed_of(connection, group) for group in groups}
        request = fetch_request.OffsetFetchRequest(
            groups=tuple(
                fetch_request.OffsetFetchRequestGroup(group_id=GroupId(group), topics=None) for group in groups
            )
        )
        answer = await connection.call(request, OffsetFetchResponseV8)
        return {str(each.group_id): _commits(each.error_code, each.topics) for each in answer.groups}

    async def operations(self, groups: Iterable[str]) -> dict[str, int | KafkaError]:
        """Return as a bit field what this user may do to each group (KIP-430), or why that is unknown.

        A group need not exist. The response contains its members as well: ask about few groups.
        """
        return await self.by_coordinator(groups, _DESCRIBED_PER_REQUEST, "DescribeGroups", _operations)

    async def commit(self, group: str, commits: Mapping[TopicPartition, Committed]) -> dict[TopicPartition, int]:
        """Commit for a group without members; return Kafka's error code per partition.

        A broker refuses it (UNKNOWN_MEMBER_ID) if the group has members: nobody is overwritten while consuming.
        A repeat does no harm, so after a lost response the request is sent again.
        """
        codes: dict[TopicPartition, int] = {}
        for some in _portions(commits):
            codes |= await self.ask(group, "OffsetCommit", partial(_commit, group=group, commits=some))
        return codes

    # -- coordinators -----------------------------------------------------------------------------------------------

    async def ask(self, group: str, api: str, work: Callable[[Connection], Awaitable[dict[T, int]]]) -> dict[T, int]:
        """Call `work` with the group's coordinator; repeat it while its codes say that the coordinator has moved."""

        async def once() -> dict[T, int]:
            nodes = await self._coordinators([group])
            node = nodes[group]
            if isinstance(node, KafkaError):
                raise node
            codes = await work(await self._reach(node, [group]))
            for code in codes.values():
                if code in _MOVING:
                    self._nodes.pop(group, None)
                    raise broker_error(self.cluster.spec, api, code, group)
            return codes

        return await patiently(once, f"{api} of {group}", _PATIENCE_SECONDS)

    async def by_coordinator(
        self,
        groups: Iterable[str],
        most: int,
        api: str,
        work: Callable[[Connection, Sequence[str]], Awaitable[dict[str, R | ErrorCode]]],
    ) -> dict[str, R | KafkaError]:
        """Call `work` for at most `most` groups of a coordinator at a time; a group's result may be its refusal."""
        done: dict[str, R | KafkaError] = {}
        wanted = list(dict.fromkeys(groups))

        async def once() -> dict[str, R | KafkaError]:
            by_node: dict[int, list[str]] = defaultdict(list)
            for group, node in (await self._coordinators([name for name in wanted if name not in done])).items():
                if isinstance(node, KafkaError):
                    done[group] = node
                else:
                    by_node[node].append(group)
            for found in await asyncio.gather(*(self._ask(node, names, most, work) for node, names in by_node.items())):
                for group, answer in found.items():
                    done[group] = self._checked(api, group, answer)
            return {group: missing_answer(self.cluster.spec, api, group) for group in wanted} | done

        return await patiently(once, f"{api} of {len(wanted)} groups", _PATIENCE_SECONDS)

    async def _ask(
        self,
        node: int,
        names: Sequence[str],
        most: int,
        work: Callable[[Connection, Sequence[str]], Awaitable[dict[str, R | ErrorCode]]],
    ) -> dict[str, R | ErrorCode]:
        connection = await self._reach(node, names)
        found: dict[str, R | ErrorCode] = {}
        for some in _slices(names, most):
            found |= await work(connection, some)
        return found

    def _checked(self, api: str, group: str, answer: R | ErrorCode) -> R | KafkaError:
        if not isinstance(answer, ErrorCode):
            return answer
        error = broker_error(self.cluster.spec, api, int(answer), group)
        if answer in _MOVING:
            self._nodes.pop(group, None)
            raise error
        return error

    async def _reach(self, node: int, groups: Iterable[str]) -> Connection:
        try:
            return await self.cluster.connection(node, Purpose.CONTROL)
        except KafkaError:
            for group in groups:
                self._nodes.pop(group, None)
            raise

    async def _coordinators(self, groups: Sequence[str]) -> dict[str, int | KafkaError]:
        """Return the coordinator of each group, or why it cannot be found."""
        unknown = [group for group in groups if group not in self._nodes]
        refusals: dict[str, int | KafkaError] = {}
        if unknown:
            connection = await self.cluster.any_connection()
            if connection.versions.offers(_FIND_COORDINATOR, 4):
                for some in _slices(unknown, _KEYS_PER_REQUEST):
                    refusals |= await self._find(connection, some)
            else:
                for group in unknown:
                    try:
                        self._nodes[group] = await coordinator_node(self.cluster, group, GROUP_KEY)
                    except KafkaError as error:
                        if error.retryable:
                            raise
                        refusals[group] = error
        found = {group: self._nodes[group] for group in groups if group in self._nodes} | refusals
        return {group: missing_answer(self.cluster.spec, "FindCoordinator", group) for group in groups} | found

    async def _find(self, connection: Connection, groups: Sequence[str]) -> dict[str, int | KafkaError]:
        request = FindCoordinatorRequest(key_type=GROUP_KEY, coordinator_keys=tuple(groups))
        answer = await connection.call(request, FindCoordinatorResponse)
        refusals: dict[str, int | KafkaError] = {}
        for one in answer.coordinators:
            if one.error_code is ErrorCode.none:
                self._nodes[one.key] = int(one.node_id)
                continue
            error = broker_error(self.cluster.spec, "FindCoordinator", int(one.error_code), one.key, one.error_message)
            if error.retryable:
                raise error
            refusals[one.key] = error
        if not {int(one.node_id) for one in answer.coordinators} <= {_NONE, *self.cluster.brokers}:
            await self.cluster.refresh([])
        return refusals

    def _check(self, api: str, code: ErrorCode, what: str) -> None:
        if code is not ErrorCode.none:
            raise broker_error(self.cluster.spec, api, int(code), what)


_MOVING: Final = frozenset(
    {ErrorCode.coordinator_load_in_progress, ErrorCode.coordinator_not_available, ErrorCode.not_coordinator}
)


async def committed_offsets(cluster: Cluster, group: str) -> dict[TopicPartition, int]:
    """Return the offsets that one group has committed (`Groups.committed`).

    Raises:
        KafkaError: The cluster refuses, or cannot be reached.
        TimedOut: The group's coordinator did not become ready.
    """
    found = (await Groups(cluster).committed([group]))[group]
    if isinstance(found, KafkaError):
        raise found
    return {where: one.offset for where, one in found.items()}


def _kind(text: str) -> GroupKind:
    try:
        return GroupKind(text.lower())
    except ValueError:
        return GroupKind.UNKNOWN


def _slices(names: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    return (names[at : at + most] for at in range(0, len(names), most))


async def _committed_of(connection: Connection, group: str) -> Commits | ErrorCode:
    answer = await connection.call(OffsetFetchRequest(group_id=GroupId(group), topics=None), OffsetFetchResponse)
    return _commits(answer.error_code, answer.topics)


def _commits(code: ErrorCode, topics: Iterable[Any]) -> Commits | ErrorCode:
    """Return the commits in one response; its topics may come from any version of OffsetFetch."""
    if code is ErrorCode.group_id_not_found:
        return {}
    if code is not ErrorCode.none:
        return code
    found: Commits = {}
    for topic in topics:
        for one in topic.partitions:
            if one.error_code is not ErrorCode.none:
                return ErrorCode(one.error_code)
            if int(one.committed_offset) != _NONE:
                where = TopicPartition(str(topic.name), int(one.partition_index))
                found[where] = Committed(int(one.committed_offset), one.metadata or "", int(one.committed_leader_epoch))
    return found


async def _operations(connection: Connection, groups: Sequence[str]) -> dict[str, int | ErrorCode]:
    request = DescribeGroupsRequest(groups=tuple(map(GroupId, groups)), include_authorized_operations=True)
    answer = await connection.call(request, DescribeGroupsResponse)
    return {
        str(each.group_id): int(each.authorized_operations) if each.error_code is ErrorCode.none else each.error_code
        for each in answer.groups
    }


def _portions(commits: Mapping[TopicPartition, Committed]) -> Iterator[Commits]:
    """Split commits that one broker might not append at once."""
    some: Commits = {}
    size = 0
    for where, one in commits.items():
        # In UTF-8 a character takes up to four bytes.
        bytes_max = _COMMIT_OVERHEAD_BYTES + len(where.topic) + 4 * len(one.metadata)
        if some and (len(some) >= _COMMIT_PARTITIONS_MAX or size + bytes_max > _COMMIT_BYTES_MAX):
            yield some
            some, size = {}, 0
        some[where] = one
        size += bytes_max
    if some:
        yield some


async def _commit(
    connection: Connection, group: str, commits: Mapping[TopicPartition, Committed]
) -> dict[TopicPartition, int]:
    by_topic: dict[str, list[TopicPartition]] = defaultdict(list)
    for where in commits:
        by_topic[where.topic].append(where)
    request = commit_request.OffsetCommitRequest(
        group_id=GroupId(group),
        member_id="",
        topics=tuple(
            commit_request.OffsetCommitRequestTopic(
                name=TopicName(topic),
                partitions=tuple(
                    commit_request.OffsetCommitRequestPartition(
                        partition_index=i32(where.partition),
                        committed_offset=i64(commits[where].offset),
                        committed_leader_epoch=i32(commits[where].leader_epoch),
                        committed_metadata=commits[where].metadata,
                    )
                    for where in parts
                ),
            )
            for topic, parts in by_topic.items()
        ),
    )
    answer = await connection.call(request, OffsetCommitResponse)
    return {
        TopicPartition(str(topic.name), int(one.partition_index)): int(one.error_code)
        for topic in answer.topics
        for one in topic.partitions
    }
