"""Real Kafka clusters in plain local processes, for the demo, tests, benchmarks and chaos runs.

::

    with Cluster(ClusterConfig("east", directory, free_base_port(1))) as east:
        print(east.bootstrap, east.cluster_id)

Imports nothing of the replicator but `model` and `errors`. Start with `cluster.py`; `brokers` is one process of a
cluster, `runtime` what every process takes.
"""

from replicator.devkit.brokers.config import Certificate, ClusterConfig, ListenerSecurity, Ports
from replicator.devkit.brokers.ports import free_base_port
from replicator.devkit.cluster import Cluster, start_clusters
from replicator.devkit.runtime.distribution import (
    KAFKA_VERSION,
    KAFKA_VERSION_OLD,
    KAFKA_VERSION_OLDEST,
    ensure_distribution,
    is_fetched,
)
from replicator.devkit.tokens import unsecured_token

__all__ = [
    "KAFKA_VERSION",
    "KAFKA_VERSION_OLD",
    "KAFKA_VERSION_OLDEST",
    "Certificate",
    "Cluster",
    "ClusterConfig",
    "ListenerSecurity",
    "Ports",
    "ensure_distribution",
    "free_base_port",
    "is_fetched",
    "start_clusters",
    "unsecured_token",
]
