"""Topic settings; with these, lists of regular expressions become lists of names."""

from __future__ import annotations

from replicator.config.lint.flows import FORCED_CONFIGS
from replicator.core.topics.configs import FORCED_NAMES

EXACT_COPY = frozenset({*FORCED_CONFIGS, *FORCED_NAMES})
"""Settings that the replicator always sets itself: a file cannot exclude them."""

KNOWN = EXACT_COPY | {
    "cleanup.policy",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "message.downconversion.enable",
    "message.format.version",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
}
