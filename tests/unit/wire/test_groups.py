"""Groups asked of coordinators that move, refuse, or are old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v3 import request as find_v3
from kio.schema.find_coordinator.v3 import response as found_v3
from kio.schema.find_coordinator.v4 import request as find_v4
from kio.schema.find_coordinator.v4 import response as found_v4
from kio.schema.offset_commit.v8 import request as commit_request
from kio.schema.offset_commit.v8 import response as commit_response
from kio.schema.offset_fetch.v7 import request as fetch_v7
from kio.schema.offset_fetch.v7 import response as fetched_v7
from kio.schema.offset_fetch.v8 import request as fetch_v8
from kio.schema.offset_fetch.v8 import response as fetched_v8
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import i32, i32Timedelta, i64

from replicator.errors import AuthorizationFailed
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.status.groups import Committed
from replicator.wire.cluster import Cluster
from replicator.wire.messages import groups as groups_module
from replicator.wire.messages.groups import Groups, committed_offsets
from replicator.wire.protocol.versions import ApiVersions

NO_TIME = i32Timedelta.parse(timedelta(0))
ORDERS = TopicPartition("orders", 0)


class Brokers:
    """Two brokers that know which of them coordinates a group, and remember what they were asked."""

    def __init__(self, *, old: bool = False) -> None:
        self.spec = ClusterSpec("west", (("b", 1),))
        self.brokers = {1: ("b", 1), 2: ("b", 2)}
        self.coordinator: dict[str, int] = {}
        self.refused: dict[str, ErrorCode] = {}
        self.asked: list[tuple[int, Any]] = []
        self.committed: dict[str, Committed] = {}
        newest = 7 if old else 8
        self._versions = ApiVersions({8: (2, 8), 9: (1, newest), 10: (0, 3 if old else 6)})

    async def refresh(self, _topics: object) -> None:
        """Know all brokers already."""

    async def any_connection(self) -> object:
        """Return one to the first broker."""
        return await self.connection(1, None)

    async def connection(self, node: int, _purpose: object) -> object:
        """Return a connection to a broker."""

        async def call(request: Any, _answer: type) -> Any:
            self.asked.append((node, request))
            return self._answers[type(request)](self, node, request)

        return SimpleNamespace(call=call, versions=self._versions, cluster=self.spec)

    def _find(self, _node: int, request: find_v4.FindCoordinatorRequest) -> found_v4.FindCoordinatorResponse:
        return found_v4.FindCoordinatorResponse(
            throttle_time=NO_TIME,
            coordinators=tuple(
                found_v4.Coordinator(
                    key=key,
                    node_id=BrokerId(self.coordinator.get(key, 1)),
                    host="b",
                    port=i32(1),
                    error_code=self.refused.get(f"find {key}", ErrorCode.none),
                    error_message=None,
                )
                for key in request.coordinator_keys
            ),
        )

    def _find_one(self, _node: int, request: find_v3.FindCoordinatorRequest) -> found_v3.FindCoordinatorResponse:
        return found_v3.FindCoordinatorResponse(
            throttle_time=NO_TIME,
            error_code=self.refused.get(f"find {request.key}", ErrorCode.none),
            error_message=None,
            node_id=BrokerId(self.coordinator.get(request.key, 1)),
            host="b",
            port=i32(1),
        )

    def _code(self, node: int, group: str) -> ErrorCode:
        return ErrorCode.not_coordinator if self.coordinator.get(group, 1) != node else ErrorCode.none

    def _fetch(self, node: int, request: fetch_v8.OffsetFetchRequest) -> fetched_v8.OffsetFetchResponse:
        return fetched_v8.OffsetFetchResponse(
            throttle_time=NO_TIME,
            groups=tuple(
                fetched_v8.OffsetFetchResponseGroup(
                    group_id=each.group_id,
                    topics=() if code is not ErrorCode.none else _topics(fetched_v8, self.committed.get(each.group_id)),
                    error_code=code,
                )
                for each in request.groups
                for code in [self.refused.get(each.group_id, self._code(node, each.group_id))]
            ),
        )

    def _fetch_one(self, node: int, request: fetch_v7.OffsetFetchRequest) -> fetched_v7.OffsetFetchResponse:
        return fetched_v7.OffsetFetchResponse(
            throttle_time=NO_TIME,
            topics=_topics(fetched_v7, self.committed.get(request.group_id)),
            error_code=self._code(node, request.group_id),
        )

    def _commit(self, node: int, request: commit_request.OffsetCommitRequest) -> commit_response.OffsetCommitResponse:
        return commit_response.OffsetCommitResponse(
            throttle_time=NO_TIME,
            topics=tuple(
                commit_response.OffsetCommitResponseTopic(
                    name=topic.name,
                    partitions=tuple(
                        commit_response.OffsetCommitResponsePartition(
                            partition_index=one.partition_index, error_code=self._code(node, request.group_id)
                        )
                        for one in topic.partitions
                    ),
                )
                for topic in request.topics
            ),
        )

    _answers: dict[type, Callable[..., Any]] = {  # noqa: RUF012 - of the class, never changed
        find_v4.FindCoordinatorRequest: _find,
        find_v3.FindCoordinatorRequest: _find_one,
        fetch_v8.OffsetFetchRequest: _fetch,
        fetch_v7.OffsetFetchRequest: _fetch_one,
        commit_request.OffsetCommitRequest: _commit,
    }


def _topics(version: Any, one: Committed | None) -> Any:
    if one is None:
        return ()
    partition = version.OffsetFetchResponsePartitions if version is fetched_v8 else version.OffsetFetchResponsePartition
    topic = version.OffsetFetchResponseTopics if version is fetched_v8 else version.OffsetFetchResponseTopic
    part = partition(
        partition_index=i32(0),
        committed_offset=i64(one.offset),
        committed_leader_epoch=i32(one.leader_epoch),
        metadata=one.metadata,
        error_code=ErrorCode.none,
    )
    return (topic(name=TopicName("orders"), partitions=(part,)),)


def of(brokers: Brokers) -> Groups:
    """Return the groups of these brokers."""
    return Groups(cast("Cluster", brokers))


async def test_many_groups_take_one_request_per_coordinator() -> None:
    """And what they committed comes with metadata and epoch."""
    brokers = Brokers()
    names = [f"g{number}" for number in range(10)]
    brokers.coordinator = {name: 1 + number % 2 for number, name in enumerate(names)}
    brokers.committed = {name: Committed(number, "m", 3) for number, name in enumerate(names)}

    found = await of(brokers).committed(names)

    assert found == {name: {ORDERS: Committed(number, "m", 3)} for number, name in enumerate(names)}
    assert [type(request) for _, request in brokers.asked] == [
        find_v4.FindCoordinatorRequest,
        fetch_v8.OffsetFetchRequest,
        fetch_v8.OffsetFetchRequest,
    ]


async def test_brokers_before_3_0_are_asked_group_by_group() -> None:
    """They know neither batched request."""
    brokers = Brokers(old=True)
    brokers.committed = {"a": Committed(5), "b": Committed(6)}
    brokers.refused = {"find c": ErrorCode.group_authorization_failed}

    found = await of(brokers).committed(["a", "b", "c"])

    assert (found["a"], found["b"]) == ({ORDERS: Committed(5)}, {ORDERS: Committed(6)})
    assert isinstance(found["c"], AuthorizationFailed)


async def test_a_coordinator_that_moved_is_looked_for_again() -> None:
    """For reading and for writing; what was answered already is not asked again."""
    brokers = Brokers()
    brokers.committed = {"still": Committed(1), "moves": Committed(2)}
    groups = of(brokers)
    await groups.committed(["still", "moves"])
    brokers.coordinator["moves"] = 2
    brokers.asked.clear()

    assert await groups.committed(["still", "moves"]) == {
        "still": {ORDERS: Committed(1)},
        "moves": {ORDERS: Committed(2)},
    }
    last = brokers.asked[-1]
    assert last[0] == 2
    assert [str(each.group_id) for each in last[1].groups] == ["moves"]

    brokers.coordinator["still"] = 2
    assert await groups.commit("still", {ORDERS: Committed(9)}) == {ORDERS: 0}


async def test_a_refusal_of_one_group_is_its_own() -> None:
    """It names the right; a group that does not exist has committed nothing."""
    brokers = Brokers()
    brokers.committed = {"open": Committed(1)}
    brokers.refused = {
        "closed": ErrorCode.group_authorization_failed,
        "find hidden": ErrorCode.group_authorization_failed,
        "nobody": ErrorCode.group_id_not_found,
    }

    found = await of(brokers).committed(["open", "closed", "hidden", "nobody"])

    assert (found["open"], found["nobody"]) == ({ORDERS: Committed(1)}, {})
    for name in ("closed", "hidden"):
        assert isinstance(found[name], AuthorizationFailed)
        assert f"--operation Describe --group {name}" in str(found[name])
    with pytest.raises(AuthorizationFailed):
        await committed_offsets(cast("Cluster", brokers), "closed")


async def test_a_commit_is_split_into_what_a_broker_appends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By partitions, and by the bytes of their metadata; none is left out."""
    monkeypatch.setattr(groups_module, "_COMMIT_PARTITIONS_MAX", 3)
    brokers = Brokers()
    many = {TopicPartition("orders", number): Committed(number) for number in range(7)}

    assert await of(brokers).commit("g", many) == dict.fromkeys(many, 0)

    commits = [request for _, request in brokers.asked if isinstance(request, commit_request.OffsetCommitRequest)]
    assert [len(request.topics[0].partitions) for request in commits] == [3, 3, 1]
    assert {str(request.group_id) for request in commits} == {"g"}
    assert {(request.member_id, int(request.generation_id_or_member_epoch)) for request in commits} == {("", -1)}

    brokers.asked.clear()
    long = {where: Committed(1, "m" * 40_000) for where in many}
    assert await of(brokers).commit("g", long) == dict.fromkeys(many, 0)
    assert sum(isinstance(request, commit_request.OffsetCommitRequest) for _, request in brokers.asked) == 7
