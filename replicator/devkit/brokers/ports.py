"""Finds ports that nobody listens on."""

from __future__ import annotations

import random
import socket

from replicator.devkit.brokers.config import HOST, PORTS_PER_BROKER, ClusterConfig
from replicator.devkit.runtime.distribution import needs_zookeeper
from replicator.errors import DevkitError

# Below the range that Linux uses for the local ports of outgoing connections (32768 and up by default).
_FIRST, _LAST = 20_000, 32_000
_ATTEMPTS_MAX = 200

_given: set[int] = set()
"""Base ports that this process has handed out already; their clusters may not be listening yet."""


def free_base_port(brokers: int) -> int:
    """Return a base port for a cluster of that many brokers, all of whose ports are free now.

    Raises:
        DevkitError: None was found in many attempts.
    """
    step = PORTS_PER_BROKER
    for _ in range(_ATTEMPTS_MAX):
        base = random.randrange(_FIRST, _LAST - step * brokers, step)  # noqa: S311 - spreads runs, guards nothing
        bases = range(base, base + step * brokers, step)
        ports = (base + i for base in bases for i in range(step))
        if _given.isdisjoint(bases) and all(port_is_free(port) for port in ports):
            _given.update(bases)
            return base
    raise DevkitError(f"no free ports between {_FIRST} and {_LAST} for {brokers} brokers")


def port_is_free(port: int) -> bool:
    """Return whether a broker could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # Like the broker, which can use a port on which a finished connection still lingers.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def check_ports(config: ClusterConfig, node_id: int) -> None:
    """Refuse a node whose ports are taken.

    Raises:
        DevkitError: Some are; the error names each of them.
    """
    ports = config.ports(node_id)
    wanted = {"DIRECT": ports.direct}
    if not needs_zookeeper(config.kafka_version):  # otherwise the ZooKeeper has it, which starts before the brokers
        wanted["CONTROLLER"] = ports.controller
    if node_id in config.repl_advertised:
        wanted["REPL"] = ports.repl
    if config.security is not None:
        wanted["SECURE"] = ports.secure
    taken = [f"{HOST}:{port} ({name})" for name, port in wanted.items() if not port_is_free(port)]
    if taken:
        raise DevkitError(
            f"broker {node_id} of cluster {config.name} cannot listen",
            why=f"another process has {', '.join(taken)}",
            next_step=f"end that process (`ss -ltnp` names it), or choose a base port other than {config.base_port}",
        )
