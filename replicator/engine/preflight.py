"""Looks at the clusters of a flow file before anything is started: read-only, bounded in time.

Facts are gathered here, what they mean is said by `preflight_judge`.
A question that fails becomes a finding, and the others are asked all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from replicator.admin.topics import TopicAdmin
from replicator.core import selection
from replicator.core.topic_plan import (
    CreateTopic,
    Recorded,
    SourceTopic,
    TargetCluster,
    TargetTopic,
    TopicPlan,
    plan_topic,
)
from replicator.engine import preflight_ask as ask
from replicator.engine import preflight_judge as judge
from replicator.engine import state
from replicator.engine.identity import REPLICAS_MAX
from replicator.engine.preflight_result import Check, Report, Section, fail, ok, warn
from replicator.engine.state_log import StateLog
from replicator.errors import AuthorizationFailed, KafkaError, ReplicatorError
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from replicator.admin.topics import TopicConfig
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec, Spec
    from replicator.state_pb import state_pb2 as pb
