"""Lies about a whole cluster."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from kio.schema.errors import ErrorCode
from kio.schema.types import BrokerId, GroupId, ProducerId, TopicName
from kio.static.primitive import i8, i16, i32, i64

from tests.hostile.middle import (
    ALTER_CONFIGS,
    API_VERSIONS,
    CREATE_TOPICS,
    DESCRIBE_ACLS,
    DESCRIBE_CONFIGS,
    DESCRIBE_GROUPS,
    EPOCH_ENDS,
    FETCH,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    LIST_GROUPS,
    LIST_OFFSETS,
    METADATA,
    OFFSET_FETCH,
    PRODUCE,
    Change,
)

HUGE = 2**63 - 1
OWN = "replicator.state"
TEXT = "\x1b[2Jno\r\n" * 7_000_000
"""About 60 MB, as far as a field takes it; a terminal would act on it."""
SHORT_TEXT_CHARS = 32_000


def told_as(**fields: Any) -> Change:
    """Return the lie that sets fields."""
    return lambda told: replace(told, **fields)


def each(name: str, change: Change) -> Change:
    """Return the lie about each part of an answer that has such parts."""
    return lambda told: replace(told, **{name: tuple(map(change, getattr(told, name)))})


def topics_with(change: Change, *, own: bool = False) -> Change:
    """Return the lie about each topic of metadata: the flow's own records, or all but those."""
    return each("topics", lambda one: change(one) if (one.name == OWN) is own else one)


def text(told: Any) -> Any:
    """Give an answer, or its parts, an error with a text that is as long as the field takes."""
    kept = TEXT if told.__flexible__ else TEXT[:SHORT_TEXT_CHARS]
    words = {"error_message": kept} if hasattr(told, "error_message") else {}
    return replace(told, error_code=ErrorCode.policy_violation, **words)


def configs_as(**fields: Any) -> Change:
    """Return the lie about each setting."""
    return each("results", each("configs", told_as(**fields)))


def coordinators(change: Change) -> Change:
    """Return the lie about each coordinator."""
    return lambda told: each("coordinators", change)(told) if hasattr(told, "coordinators") else change(told)


def commits(change: Change) -> Change:
    """Return the lie about each commit."""
    of_topics = each("topics", each("partitions", change))
    return lambda told: each("groups", of_topics)(told) if hasattr(told, "groups") else of_topics(told)


def versions_as(**fields: int) -> Change:
    """Return the lie about each range of versions."""
    return each("api_keys", told_as(**{name: i16(number) for name, number in fields.items()}))


def without(*keys: int) -> Change:
    """Return the lie that some requests are not offered."""
    return lambda told: replace(told, api_keys=tuple(one for one in told.api_keys if int(one.api_key) not in keys))


def ids_change(*, own: bool = False) -> Change:
    """Return the lie that topics have another id in each answer."""

    def lie(told: Any) -> Any:
        return topics_with(told_as(topic_id=uuid.uuid4()), own=own)(told)

    return lie


def brokers_twice(told: Any) -> Any:
    """Tell of each broker at another address as well, behind the true one."""
    return replace(told, brokers=(*told.brokers, *(replace(one, port=i32(1)) for one in told.brokers)))


def many_groups(told: Any) -> Any:
    """Tell of groups that there are not, some of whose names act on a terminal."""
    if not told.groups:
        return told
    names = [f"{number}-\x1b[2J\u202e" + "x" * 200 for number in range(20_000)]
    return replace(told, groups=(*told.groups, *(replace(told.groups[0], group_id=GroupId(name)) for name in names)))


def epoch_back(told: Any) -> Any:
    """Tell an epoch that was given before."""
    return replace(told, producer_epoch=i16(max(0, int(told.producer_epoch) - 3)))


IDS_CHANGE = "topics whose ids change"
LIES: dict[str, tuple[int, Change]] = {
    "no brokers": (METADATA, told_as(brokers=())),
    "another cluster": (METADATA, told_as(cluster_id="somebody-elses-cluster")),
    "no cluster id": (METADATA, told_as(cluster_id=None)),
    "a cluster id that acts on a terminal": (METADATA, told_as(cluster_id="x\x1b[2J" * 8_000)),
    "no controller": (METADATA, told_as(controller_id=BrokerId(-1))),
    "a controller that is not there": (METADATA, told_as(controller_id=BrokerId(77))),
    "ports 0": (METADATA, each("brokers", told_as(port=i32(0)))),
    "ports where nobody listens": (METADATA, each("brokers", told_as(port=i32(1)))),
    "hosts of 60 kB": (METADATA, each("brokers", told_as(host="h" * 60_000))),
    "a broker at two addresses": (METADATA, brokers_twice),
    "a negative broker": (METADATA, each("brokers", told_as(node_id=BrokerId(-3)))),
    IDS_CHANGE: (METADATA, ids_change()),
    "own records whose id changes": (METADATA, ids_change(own=True)),
    "own records without partitions": (METADATA, topics_with(told_as(partitions=()), own=True)),
    "own records in a strange partition": (
        METADATA,
        topics_with(each("partitions", told_as(partition_index=i32(7))), own=True),
    ),
    "no topics": (METADATA, told_as(topics=())),
    "topics twice": (METADATA, lambda told: replace(told, topics=told.topics * 2)),
    "topics without partitions": (METADATA, topics_with(told_as(partitions=()))),
    "negative partitions": (METADATA, topics_with(each("partitions", told_as(partition_index=i32(-1))))),
    "partitions twice": (METADATA, topics_with(lambda one: replace(one, partitions=one.partitions * 2))),
    "partitions that are far away": (
        METADATA,
        topics_with(each("partitions", told_as(partition_index=i32(2**31 - 1)))),
    ),
    "topics that may not be seen": (METADATA, topics_with(told_as(error_code=ErrorCode.topic_authorization_failed))),
    "topics that are gone": (METADATA, topics_with(told_as(error_code=ErrorCode.unknown_topic_or_partition))),
    "own records that are gone": (
        METADATA,
        topics_with(told_as(error_code=ErrorCode.unknown_topic_or_partition), own=True),
    ),
    "no requests": (API_VERSIONS, told_as(api_keys=())),
    "every version there could be": (API_VERSIONS, versions_as(min_version=0, max_version=32_767)),
    "no Fetch": (API_VERSIONS, without(FETCH)),
    "no Produce": (API_VERSIONS, without(PRODUCE)),
    "only what the copy needs": (API_VERSIONS, without(DESCRIBE_CONFIGS, OFFSET_FETCH, LIST_GROUPS, FIND_COORDINATOR)),
    "ranges upside down": (API_VERSIONS, versions_as(min_version=9, max_version=0)),
    "negative versions": (API_VERSIONS, versions_as(min_version=-9, max_version=-1)),
    "versions that fail": (API_VERSIONS, told_as(error_code=ErrorCode.unknown_server_error)),
    "no settings": (DESCRIBE_CONFIGS, each("results", told_as(configs=()))),
    "nothing about settings": (DESCRIBE_CONFIGS, told_as(results=())),
    "settings that are no numbers": (DESCRIBE_CONFIGS, configs_as(value="banana")),
    "settings that are too large": (DESCRIBE_CONFIGS, configs_as(value="9" * 40)),
    "negative settings": (DESCRIBE_CONFIGS, configs_as(value="-7")),
    "settings without a value": (DESCRIBE_CONFIGS, configs_as(value=None)),
    "settings without a name": (DESCRIBE_CONFIGS, configs_as(name="")),
    "settings of a strange source": (DESCRIBE_CONFIGS, configs_as(config_source=i8(99))),
    "settings of 32 kB that act on a terminal": (DESCRIBE_CONFIGS, configs_as(value=TEXT[:SHORT_TEXT_CHARS])),
    "settings that are refused at length": (DESCRIBE_CONFIGS, each("results", text)),
    "settings of another": (DESCRIBE_CONFIGS, each("results", told_as(resource_name="other"))),
    "coordinators that are not there": (FIND_COORDINATOR, coordinators(told_as(node_id=BrokerId(77)))),
    "coordinators that are none": (FIND_COORDINATOR, coordinators(told_as(node_id=BrokerId(-1)))),
    "coordinators at port 1": (FIND_COORDINATOR, coordinators(told_as(port=i32(1)))),
    "coordinators at no host": (FIND_COORDINATOR, coordinators(told_as(host="\x1b[2J" * 8_000, port=i32(-5)))),
    "coordinators that are still to come": (
        FIND_COORDINATOR,
        coordinators(told_as(error_code=ErrorCode.coordinator_not_available)),
    ),
    "coordinators that are others": (FIND_COORDINATOR, coordinators(told_as(error_code=ErrorCode.not_coordinator))),
    "coordinators of nothing": (
        FIND_COORDINATOR,
        coordinators(lambda one: replace(one, key="other") if hasattr(one, "key") else one),
    ),
    "coordinators that are refused at length": (FIND_COORDINATOR, coordinators(text)),
    "no producer id": (INIT_PRODUCER_ID, told_as(producer_id=ProducerId(-1))),
    "no producer epoch": (INIT_PRODUCER_ID, told_as(producer_epoch=i16(-1))),
    "a producer epoch that goes back": (INIT_PRODUCER_ID, epoch_back),
    "the last producer epoch": (INIT_PRODUCER_ID, told_as(producer_epoch=i16(32_767))),
    "a producer id that is everybody's": (INIT_PRODUCER_ID, told_as(producer_id=ProducerId(0))),
    "producer ids of another coordinator": (INIT_PRODUCER_ID, told_as(error_code=ErrorCode.not_coordinator)),
    "producer ids that are fenced": (INIT_PRODUCER_ID, told_as(error_code=ErrorCode.producer_fenced)),
    "commits beyond the end": (OFFSET_FETCH, commits(told_as(committed_offset=i64(10**12)))),
    "the highest commits there are": (OFFSET_FETCH, commits(told_as(committed_offset=i64(HUGE)))),
    "negative commits": (OFFSET_FETCH, commits(told_as(committed_offset=i64(-7)))),
    "commits with words of a megabyte": (OFFSET_FETCH, commits(told_as(metadata="\x1b[2J" * 250_000))),
    "commits of partitions that are not there": (OFFSET_FETCH, commits(told_as(partition_index=i32(2**31 - 1)))),
    "commits of epochs to come": (OFFSET_FETCH, commits(told_as(committed_leader_epoch=i32(2**31 - 1)))),
    "commits that fail": (OFFSET_FETCH, commits(told_as(error_code=ErrorCode.unknown_server_error))),
    "no commits": (OFFSET_FETCH, told_as(groups=())),
    "twenty thousand groups": (LIST_GROUPS, many_groups),
    "groups of a strange kind": (LIST_GROUPS, each("groups", told_as(group_type="\x1b[2J" * 8_000))),
    "groups in a strange state": (LIST_GROUPS, each("groups", told_as(group_state="\x1b[2J" * 8_000))),
    "no groups": (LIST_GROUPS, told_as(groups=())),
    "groups that fail": (LIST_GROUPS, told_as(error_code=ErrorCode.unknown_server_error)),
    "groups in a state that acts on a terminal": (
        DESCRIBE_GROUPS,
        each("groups", told_as(group_state="\x1b[2J" * 8_000)),
    ),
    "ends that are far": (LIST_OFFSETS, each("topics", each("partitions", told_as(offset=i64(10**15))))),
    "no ends": (LIST_OFFSETS, told_as(topics=())),
    "epochs of nothing": (EPOCH_ENDS, told_as(topics=())),
    "new topics that are refused at length": (CREATE_TOPICS, each("topics", text)),
    "new topics that are others": (CREATE_TOPICS, each("topics", told_as(name=TopicName("other")))),
    "nothing about new topics": (CREATE_TOPICS, told_as(topics=())),
    "settings that are refused when set": (ALTER_CONFIGS, each("responses", text)),
    "nothing about settings that are set": (ALTER_CONFIGS, told_as(responses=())),
    "rules that are refused at length": (DESCRIBE_ACLS, text),
}
