"""Options of MirrorMaker 2 without a key in the flow file: what replaces them.

The first pattern that matches the whole option (without `A.` or `A->B.`) counts.
"""

from __future__ import annotations

import re

from replicator.config.mm2.report import Fate

_SASL_OR_TLS = r"(ssl|sasl)\..*"
_CONNECT = (
    r"(offset|config|status)\.(storage|flush)\..*|(key|value|header)\.converter.*|group\.id|plugin\.path|worker\..*"
    r"|task\..*|(internal\.)?(key|value)\..*|rest\..*|listeners.*|admin\.listeners.*|dedicated\.mode\..*|name"
    r"|connector\.class|rebalance\.timeout\.ms|(session\.timeout|heartbeat\.interval)\.ms|scheduled\.rebalance\..*"
    r"|connector\.client\.config\.override\.policy|client\.id"
)
_TUNING = (
    r"fetch\..*|max\.(partition\.fetch\.bytes|poll\..*)|batch\.size|linger\.ms|buffer\.memory|acks|retries|delivery\..*"
    r"|max\.in\.flight\..*|enable\.(idempotence|auto\.commit)|max\.block\.ms|(send|receive)\.buffer\.bytes"
    r"|(reconnect|retry)\.backoff\..*|connections\.max\.idle\.ms|metadata\.max\.age\.ms|client\.(dns\.lookup|rack)"
    r"|check\.crcs|default\.api\.timeout\.ms|partitioner\..*|transaction.*|session\.timeout\.ms|heartbeat\.interval\.ms"
)

_NO_CLIENT = "there is no Kafka client to tune; instead: limits.in_flight_bytes bounds memory"

OPTIONS: tuple[tuple[str, Fate, str], ...] = (
    (
        r"exactly\.once\.(source\.)?support|transaction\.boundary.*",
        Fate.BUILT_IN,
        "every record is copied exactly once, without transactions on the target",
    ),
    (
        r"tasks\.max",
        Fate.BUILT_IN,
        "one daemon copies a whole flow; `shards` spread it over several",
    ),
    (
        r"offset-syncs\..*|emit\.offset-syncs\..*|offset\.lag\.max",
        Fate.BUILT_IN,
        "offsets are the same on both sides, or mapped exactly in replicator.state: there is no such topic",
    ),
    (
        r"emit\.checkpoints\..*|checkpoints\..*",
        Fate.BUILT_IN,
        "committed offsets are written to the target itself (groups), without checkpoints between",
    ),
    (
        r"emit\.heartbeats\..*|heartbeats\..*",
        Fate.NONE,
        "no heartbeats are written or copied; instead: watch rpo_seconds and lag_records in /metrics",
    ),
    (
        r"refresh\.topics\.interval\.seconds|sync\.topic\.configs\.interval\.seconds",
        Fate.BUILT_IN,
        "new topics, new partitions and changed settings are followed while running",
    ),
    (
        r"refresh\.groups\..*",
        Fate.BUILT_IN,
        "new groups are found in every round",
    ),
    (
        r"sync\.topic\.acls\.interval\.seconds",
        Fate.BUILT_IN,
        "where acls.mirror is on, changes of ACLs are followed while running",
    ),
    (
        r"replication\.policy\.internal\.topic\.separator\.enabled",
        Fate.BUILT_IN,
        "there are no such internal topics; those of MirrorMaker are copied only if listed by full name",
    ),
    (
        r"(group|config\.property)\.filter\.class|forwarding\.admin\.class|add\.(source|target)\.alias\.to\.metrics",
        Fate.NONE,
        "Java classes cannot be run; instead: write the selection as lists",
    ),
    (
        r"use\.defaults\.from",
        Fate.NONE,
        "settings that a topic inherits are not copied, except retention and clean-up; instead: topic_configs.override",
    ),
    (r"config\.providers.*", Fate.NONE, "instead: variables ${VAR}, or password_file"),
    (r"metric\.reporters|metrics\..*|auto\.include\.jmx\.reporter", Fate.NONE, "instead: /metrics (Prometheus)"),
    (r"predicates.*|transforms.*", Fate.NONE, "records are never changed; instead: a stream processor after the copy"),
    (r"errors\..*", Fate.BUILT_IN, "nothing is skipped: a partition that cannot continue stops with a named reason"),
    (
        r"admin\.timeout\.ms|consumer\.poll\.timeout\.ms",
        Fate.NONE,
        "instead: client.request_timeout of a cluster",
    ),
    (
        r"compression\..*",
        Fate.BUILT_IN,
        "batches are copied as they are, with their own codec",
    ),
    (
        r"max\.request\.size",
        Fate.BUILT_IN,
        "batches are sent as they are; the target topic accepts what the source's accepted (max.message.bytes)",
    ),
    (
        r"producer\.override\..*|consumer\.override\..*|interceptor\.classes",
        Fate.NONE,
        _NO_CLIENT,
    ),
    (
        _TUNING,
        Fate.BUILT_IN,
        "whole batches pass unopened, there is nothing to tune; limits.in_flight_bytes bounds memory",
    ),
    (_SASL_OR_TLS, Fate.NONE, "not used by this protocol, or without a counterpart; instead: `security`"),
    (_CONNECT, Fate.BUILT_IN, "there is no Kafka Connect: no workers, no converters, no storage topics"),
)

_COMPILED = tuple((re.compile(pattern), fate, text) for pattern, fate, text in OPTIONS)
_CLIENT = re.compile(r"((source|target)\.)?(consumer|producer|admin)\.(override\.)?")


def known(name: str) -> tuple[Fate, str] | None:
    """Return what became of an option, or None for an unknown one; client prefixes do not matter."""
    for one in dict.fromkeys((name, _CLIENT.sub("", name, count=1))):
        for pattern, fate, text in _COMPILED:
            if pattern.fullmatch(one):
                return fate, text
    return (Fate.NONE, _NO_CLIENT) if _CLIENT.match(name) else None


FLOW_ONLY = frozenset(
    {
        "enabled",
        "topics",
        "topics.exclude",
        "topics.blacklist",
        "groups",
        "groups.exclude",
        "groups.blacklist",
        "config.properties.exclude",
        "config.properties.blacklist",
        "replication.factor",
        "replication.policy.class",
        "replication.policy.separator",
        "sync.topic.configs.enabled",
        "sync.topic.acls.enabled",
        "sync.group.offsets.enabled",
        "sync.group.offsets.interval.seconds",
        "refresh.topics.enabled",
    }
)
"""Options that MirrorMaker reads for a flow or for all, but not with the prefix of one cluster."""
