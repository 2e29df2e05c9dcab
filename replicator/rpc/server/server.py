"""The gRPC server of a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from replicator.control.access import Access
from replicator.control.audited import AuditPort
from replicator.control.audited_control import AuditedControl
from replicator.control.caller import KnownBy
from replicator.control.order_token import OrderToken
from replicator.control.port import ControlPort
from replicator.errors import ConfigError, ReplicatorError
from replicator.model.access_rules import AccessRule
from replicator.model.spec import TlsSpec
from replicator.model.units import format_address, is_loopback
from replicator.rpc.client.lease_port import LeasePort
from replicator.rpc.server.access_server import ACCESS_SERVICE, AccessServicer
from replicator.rpc.server.admission import Admission
from replicator.rpc.server.callers import Callers
from replicator.rpc.server.certificates import CertificateSource
from replicator.rpc.server.control_server import ControlServicer
from replicator.rpc.server.lease_server import LEASE_SERVICE, LeaseServicer
from replicator.rpc.server.request_sizes import REQUEST_BYTES_MAX
from replicator.rpc.server.shares import Shares
from replicator.rpc.v1 import access_pb2_grpc, control_pb2_grpc, lease_pb2_grpc

SERVICE = "replicator.rpc.v1.Control"

_ANSWER_BYTES_MAX = 64 << 20
_STREAMS_PER_CONNECTION_MAX = 256
"""Half-sent calls count, too, and each takes some kilobytes."""
_AHEAD_BYTES_MAX = 64 << 10
_HANDSHAKE_MS_MAX = 10_000
_IDLE_CONNECTION_MS_MAX = 300_000
CONNECTIONS_MAX = 256
"""Each takes one of the process's 1,024 file descriptors. Connections before their handshake count, too."""

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", _ANSWER_BYTES_MAX),
    ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION_MAX),
    # Bounds what each call may send before it is read; a probe would raise it to 16 MiB.
    ("grpc.http2.lookahead_bytes", _AHEAD_BYTES_MAX),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS_MAX),
    ("grpc.max_connection_idle_ms", _IDLE_CONNECTION_MS_MAX),
    ("grpc.max_allowed_incoming_connections", CONNECTIONS_MAX),
    # Two daemons on one port would otherwise silently share its connections.
    ("grpc.so_reuseport", 0),
]


class RpcServer:
    """Control and lease services, health and reflection on one port.

    Plain text is served only on loopback, and orders carry the token of `state_dir` there. With TLS and a client CA
    every caller needs a certificate, and is the actor named in it: `rules` say who may do what, and nothing else is
    allowed. With TLS but no client CA, callers can only read.
    Changes are written to `audit`; without `control` and `audit` only leases are served.

    Attributes:
        access: What callers may do; what was refused.
        control: The orders and questions of callers, for other faces too; None if only leases are served.
    """

    def __init__(
        self,
        control: ControlPort | None,
        audit: AuditPort | None,
        *,
        host: str,
        port: int,
        state_dir: Path,
        tls: TlsSpec | None = None,
        leases: LeasePort | None = None,
        rules: Sequence[AccessRule] = (),
    ) -> None:
        mutual_tls = tls is not None and tls.ca_file is not None
        token = OrderToken(state_dir) if not mutual_tls and is_loopback(host) else None
        self.access = Access(rules, token=token)
        known_by = KnownBy.CERTIFICATE if mutual_tls else KnownBy.TOKEN if token is not None else KnownBy.NOBODY
        self._callers = Callers(known_by)
        self.control: AuditedControl | None = None
        if control is not None and audit is not None:
            self.control = AuditedControl(control, audit, self.access)
        self._leases = leases
        self._host = host
        self._port = port
        self._tls = tls
        self._server: grpc.aio.Server | None = None
        self._health: Any = None
        self._stopping = asyncio.Event()

    async def start(self) -> int:
        """Start listening; return the port, which the system chose if 0 was requested.

        Raises:
            ConfigError: Plain text off loopback, or certificates that cannot be used.
            ReplicatorError: It cannot listen on the address.
        """
        server = grpc.aio.server(options=_OPTIONS, interceptors=[Admission(self.access, self._callers, Shares())])
        services = self._add_services(server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        port = self._listen(server)
        for service in services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        self._server = server
        return port

    def _add_services(self, server: grpc.aio.Server) -> list[str]:
        access_pb2_grpc.add_AccessServicer_to_server(AccessServicer(self.access, self._callers), server)
        services = [ACCESS_SERVICE]
        if self.control is not None:
            servicer = ControlServicer(self.control, self._callers, self._stopping)
            control_pb2_grpc.add_ControlServicer_to_server(servicer, server)
            services.append(SERVICE)
        if self._leases is not None:
            leases = LeaseServicer(self._leases, self.access, self._callers, self._stopping)
            lease_pb2_grpc.add_LeaseServicer_to_server(leases, server)
            services.append(LEASE_SERVICE)
        return services

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """End watches, let other calls finish within the grace, and close."""
        if self._server is None:
            return
        self._stopping.set()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)
        self._server = None

    def _listen(self, server: grpc.aio.Server) -> int:
        address = format_address((self._host, self._port))
        if self._tls is None and not is_loopback(self._host):
            raise ConfigError(
                f"rpc on {address} without TLS is refused",
                why="anyone on the network could pause or fail over flows",
                next_step="set daemon.tls, or make daemon.rpc listen on 127.0.0.1",
            )
        try:
            if self._tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, CertificateSource(self._tls).credentials())
        except RuntimeError as error:
            raise ReplicatorError(
                f"cannot listen on {address} for rpc",
                why="the address is in use, or does not belong to this machine",
                next_step="stop the other process, or change daemon.rpc",
            ) from error
