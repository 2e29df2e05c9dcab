"""Which rights a flow needs on its two clusters, and how to grant them: the least, derived from what we send.

Brokers check our requests for these operations (KafkaApis of Apache Kafka 2.8 to 4.x):

=============================  ========================================  =====================================
request                        checked                                   who sends it
=============================  ========================================  =====================================
Fetch                          READ topic                                copying; reading back the target's tail
Metadata, ListOffsets          DESCRIBE topic                            every attach, topic sync
OffsetForLeaderEpoch           DESCRIBE topic                            attach to the source
DescribeConfigs (topic)        DESCRIBE_CONFIGS topic                    topic sync
DescribeConfigs (broker)       DESCRIBE_CONFIGS cluster                  the guard: producer.id.expiration.ms
Produce                        WRITE topic                               copying
Produce, transactional         WRITE topic and transactional id          changes of replicator.state
DescribeProducers              READ topic                                attach to the target
CreateTopics                   CREATE topic (or cluster)                 topic sync, replicator.state
CreatePartitions               ALTER topic                               a source topic grew
IncrementalAlterConfigs        ALTER_CONFIGS topic                       a source setting changed
DeleteRecords                  DELETE topic                              seeding a log that starts above 0
FindCoordinator (transaction)  DESCRIBE transactional id                 producer ids, replicator.state
InitProducerId, EndTxn         WRITE transactional id                    producer ids, replicator.state, fills
AddPartitionsToTxn             WRITE topic and transactional id          changes of replicator.state, fills
WriteTxnMarkers                CLUSTER_ACTION cluster                    fills, where it is allowed
FindCoordinator (group)        DESCRIBE group                            groups, both sides
ListGroups                     DESCRIBE group, each                      groups, both sides
OffsetFetch                    DESCRIBE group and topic                  groups; `offsets translate --group`
DescribeShareGroupOffsets      DESCRIBE group and topic                  groups that are shared
OffsetCommit                   READ group and topic                      groups, on the target
AlterShareGroupOffsets         READ group and topic                      groups that are shared, on the target
DescribeAcls                   DESCRIBE cluster                          rules that follow; a switchover, the source
CreateAcls, DeleteAcls         ALTER cluster                             rules that follow, on the target; a switchover
                                                                         that closes the source by rules, there
=============================  ========================================  =====================================

Fills are markers at offsets that hold no record on the source: if WriteTxnMarkers is refused, empty transactions
write them, more slowly but with rights that a flow has anyway.
Newer brokers accept ALTER on the cluster for WriteTxnMarkers too (KIP-1037); CLUSTER_ACTION works on all of them, and
ALTER would let us change ACLs.

ListGroups silently leaves out groups that this user may not describe, and OffsetFetch topics.

IDEMPOTENT_WRITE on the cluster is not needed: our producer ids come with a transactional id, and since 2.8
(KIP-679) Produce needs only WRITE on the topic.
Kafka's own authorizer grants DESCRIBE with READ, WRITE, DELETE or ALTER, and DESCRIBE_CONFIGS with ALTER_CONFIGS;
they are listed all the same, since other authorizers do not.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from replicator.core.acl.granted_names import EVERY, Names, mirror_names, selected_names
from replicator.core.topics.choice import asks_for_origins
from replicator.model.names import STATE_TOPIC
from replicator.model.security import Mechanism, Security
from replicator.model.spec import FlowSpec
from replicator.model.text import command

TRANSACTIONAL_PREFIX = "replicator."


class Operation(enum.StrEnum):
    """Kafka's operations, as `kafka-acls` spells them."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DELETE = "Delete"
    ALTER = "Alter"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"
    CLUSTER_ACTION = "ClusterAction"


class ResourceKind(enum.StrEnum):
    """The kind of resource a right applies to, as an option of `kafka-acls`."""

    TOPIC = "--topic"
    CLUSTER = "--cluster"
    TRANSACTIONAL_ID = "--transactional-id"
    GROUP = "--group"


@dataclass(frozen=True, slots=True)
class Grant:
    """Operations on one resource, and what they are for."""

    kind: ResourceKind
    names: Names
    operations: tuple[Operation, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom to grant to. `known` is False if only the cluster's owner knows; `text` is then a placeholder."""

    text: str
    known: bool = True
    note: str = ""


_SOURCE_TOPICS = (Operation.READ, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)
_MIRRORS = (
    Operation.WRITE,
    Operation.READ,
    Operation.DESCRIBE,
    Operation.DESCRIBE_CONFIGS,
    Operation.CREATE,
    Operation.ALTER,
    Operation.ALTER_CONFIGS,
)
_SHARED = tuple(operation for operation in _MIRRORS if operation is not Operation.ALTER_CONFIGS)
"""If others also write to a target topic, its settings are left alone."""
_ORIGINS = (Operation.READ, Operation.DESCRIBE)
_STATE = (Operation.WRITE, Operation.READ, Operation.DESCRIBE, Operation.CREATE)
_WHY_STATE_CONFIGS = (
    "find out which settings topics may have there, which differs by version; may be left out: a new mirror then gets "
    "some of its settings only once it exists"
)

_WHY_DELETE = "DeleteRecords, only while a mirror is seeded whose source starts above offset 0"
_WHY_CLUSTER_ACTION = (
    "WriteTxnMarkers, only if the source has transactions or compacted topics; may be left out (brokers use this "
    "right among themselves): offsets without a record are then filled by empty transactions, about 30 a second"
)

_WHY_ORIGINS = (
    "find out which topics of the source are copies that flows made of the target's topics; may be left out if no flow "
    "writes to the source"
)
_WHY_READ_GROUPS = (
    "read what consumer groups commit; may be left out: groups that may not be described do not follow, and "
    "`offsets translate --group` does not know them"
)
_WHY_SET_GROUPS = "commit for consumer groups that follow; may be left out with `groups: {include: []}`"
_WHY_ASK_GROUPS = "`{command}` only; may be left out; to grant a single group, replace * with its name"

_ASIDE = (Operation.WRITE, Operation.READ, Operation.DESCRIBE, Operation.CREATE)
_WHY_DIVERGENT = "export the surplus records that a failback finds on the old source; may be left out until then"
_WHY_DEAD_LETTER = (
    "set aside records that are too large for the target (`mirror resolve --how skip`); may be left out until then"
)

_WHY_RULES = "add and remove rules of the authorizer (`acls.mirror`, `acls.lock_target`)"
_WHY_CLOSE = (
    "add and remove the rules by which a switchover closes the source, only if its applications have rules that "
    "let them write; may be left out: then stop their producers and pass --producers-stopped"
)

REQUIRED_ON_SOURCE_TOPIC = frozenset(_SOURCE_TOPICS)
REQUIRED_ON_MIRROR = frozenset(_MIRRORS)
REQUIRED_ON_SHARED = frozenset(_SHARED)
REQUIRED_ON_STATE = frozenset(_STATE)
REQUIRED_ON_ORIGINS = frozenset(_ORIGINS)
REQUIRED_ON_SOURCE_GROUP = frozenset({Operation.DESCRIBE})
REQUIRED_ON_TARGET_GROUP = frozenset({Operation.READ, Operation.DESCRIBE})

NEEDED_BY: Mapping[str, Operation] = {
    "Fetch": Operation.READ,
    "Metadata": Operation.DESCRIBE,
    "ListOffsets": Operation.DESCRIBE,
    "OffsetForLeaderEpoch": Operation.DESCRIBE,
    "DescribeProducers": Operation.READ,
    "Produce": Operation.WRITE,
    "AddPartitionsToTxn": Operation.WRITE,
    "DeleteRecords": Operation.DELETE,
    "OffsetCommit": Operation.READ,
    "AlterShareGroupOffsets": Operation.READ,
}
"""Which operation is missing when a request about a topic is refused (see the table above)."""

NOT_NEEDED = (
    "IdempotentWrite: not needed, Kafka 2.8 and newer do not require it",
    "Read on the source's consumer groups: not needed, the flow joins no group and commits nothing there",
)


def source_rights(flow: FlowSpec) -> tuple[Grant, ...]:
    """Return what a flow needs on its source, where it never writes to a topic."""
    topics = tuple(
        Grant(ResourceKind.TOPIC, names, _SOURCE_TOPICS, "read the selected topics and their settings")
        for names in selected_names(flow.topics)
    )
    cluster = Grant(
        ResourceKind.CLUSTER, EVERY, (Operation.DESCRIBE,), "list what this user may do (`validate --connect` only)"
    )
    groups = _groups(flow, (Operation.DESCRIBE,), _WHY_READ_GROUPS, "offsets translate --group")
    why = "find out what flows wrote there (`loop_guard: origin`)" if flow.both_ways else _WHY_ORIGINS
    origins = Grant(ResourceKind.TOPIC, Names(STATE_TOPIC), _ORIGINS, why)
    closing = Grant(ResourceKind.CLUSTER, EVERY, (Operation.ALTER,), _WHY_CLOSE)
    return (
        *topics,
        *((origins,) if flow.both_ways or asks_for_origins(flow) else ()),
        cluster,
        *(() if flow.both_ways else (closing,)),
        *groups,
    )


def target_rights(flow: FlowSpec) -> tuple[Grant, ...]:
    """Return what a flow needs on its target."""
    mirrors = mirror_names(flow.topics, flow.rename)
    places_rules = flow.acls.mirror or flow.acls.lock_target
    on_mirrors = _SHARED if flow.both_ways else _MIRRORS
    return (
        *(Grant(ResourceKind.TOPIC, names, on_mirrors, "create, write and check the mirrors") for names in mirrors),
        *(
            ()
            if flow.both_ways
            else (Grant(ResourceKind.TOPIC, names, (Operation.DELETE,), _WHY_DELETE) for names in mirrors)
        ),
        *_aside(mirrors, both_ways=flow.both_ways),
        Grant(ResourceKind.TOPIC, Names(STATE_TOPIC), _STATE, "who writes, which mirrors there are"),
        Grant(ResourceKind.TOPIC, Names(STATE_TOPIC), (Operation.DESCRIBE_CONFIGS,), _WHY_STATE_CONFIGS),
        Grant(
            ResourceKind.TRANSACTIONAL_ID,
            Names(TRANSACTIONAL_PREFIX, prefixed=True),
            (Operation.WRITE, Operation.DESCRIBE),
            "the flow's producer ids, changes of its state, and fills without ClusterAction",
        ),
        Grant(
            ResourceKind.CLUSTER,
            EVERY,
            (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS),
            "read producer.id.expiration.ms",
        ),
        *(
            ()
            if flow.both_ways
            else (Grant(ResourceKind.CLUSTER, EVERY, (Operation.CLUSTER_ACTION,), _WHY_CLUSTER_ACTION),)
        ),
        *((Grant(ResourceKind.CLUSTER, EVERY, (Operation.ALTER,), _WHY_RULES),) if places_rules else ()),
        *_groups(flow, tuple(sorted(REQUIRED_ON_TARGET_GROUP)), _WHY_SET_GROUPS, "offsets translate --group --reverse"),
    )


def _aside(mirrors: Iterable[Names], *, both_ways: bool) -> Iterable[Grant]:
    """Yield the rights on topics next to a mirror; a grant on a prefix or `*` covers them already."""
    for names in mirrors:
        if names.prefixed or names == EVERY:
            continue
        if not both_ways:
            yield Grant(ResourceKind.TOPIC, Names(f"{names.text}.divergent.", prefixed=True), _ASIDE, _WHY_DIVERGENT)
        yield Grant(ResourceKind.TOPIC, Names(f"{names.text}.dead-letter"), _ASIDE, _WHY_DEAD_LETTER)


def _groups(flow: FlowSpec, operations: tuple[Operation, ...], why: str, asked_by: str) -> tuple[Grant, ...]:
    """Return what is needed on consumer groups; even if none follows, an operator may ask about any of them."""
    names = selected_names(flow.group_sync.groups)
    if not names:
        return (Grant(ResourceKind.GROUP, EVERY, (Operation.DESCRIBE,), _WHY_ASK_GROUPS.format(command=asked_by)),)
    return tuple(Grant(ResourceKind.GROUP, each, operations, why) for each in names)


# -- how rights are granted -------------------------------------------------------------------------------------------


def principal(security: Security) -> Principal:
    """Return our principal on the cluster, as far as the file says."""
    if security.protocol.sasl:
        if security.mechanism is Mechanism.OAUTHBEARER:
            return Principal("User:<subject of the token>", known=False, note="the token's `sub` claim, by default")
        return Principal(f"User:{security.username or ''}")
    if security.protocol.tls and security.cert_file is not None:
        return Principal(
            f"User:<subject of {security.cert_file.name}>",
            known=False,
            note=f"openssl x509 -in {command(str(security.cert_file))} -noout -subject -nameopt RFC2253; "
            "the cluster may map it (ssl.principal.mapping.rules)",
        )
    return Principal("User:ANONYMOUS", note="connections without a login; grant to it only on a closed network")


def on_topic(name: str, *operations: Operation) -> Grant:
    """Return the grant of operations on one topic."""
    return Grant(ResourceKind.TOPIC, Names(name), operations)


def on_group(name: str, *operations: Operation) -> Grant:
    """Return the grant of operations on one consumer group."""
    return Grant(ResourceKind.GROUP, Names(name), operations)


def on_transactional_ids(name: str) -> Grant:
    """Return the grant on a transactional id; for one of ours on all of them, since a flow uses several."""
    names = Names(TRANSACTIONAL_PREFIX, prefixed=True) if name.startswith(TRANSACTIONAL_PREFIX) else Names(name)
    return Grant(ResourceKind.TRANSACTIONAL_ID, names, (Operation.WRITE, Operation.DESCRIBE))


def on_cluster(*operations: Operation) -> Grant:
    """Return the grant of operations on the cluster itself."""
    return Grant(ResourceKind.CLUSTER, EVERY, operations)


# -- what a cluster says of us ----------------------------------------------------------------------------------------

_CODES = {
    3: Operation.READ,
    4: Operation.WRITE,
    5: Operation.CREATE,
    6: Operation.DELETE,
    7: Operation.ALTER,
    8: Operation.DESCRIBE,
    10: Operation.DESCRIBE_CONFIGS,
    11: Operation.ALTER_CONFIGS,
}
UNREPORTED = -(1 << 31)


def operations_of(bits: int) -> frozenset[Operation] | None:
    """Return the operations in the bit field of a Metadata answer, or None if the broker does not report them."""
    if bits == UNREPORTED:
        return None
    return frozenset(operation for code, operation in _CODES.items() if bits >> code & 1)


def lacking(needed: Iterable[Operation], allowed: frozenset[Operation] | None) -> tuple[Operation, ...]:
    """Return what is needed but not allowed, in a fixed order; nothing if that is unknown."""
    if allowed is None:
        return ()
    return tuple(sorted(set(needed) - allowed))
