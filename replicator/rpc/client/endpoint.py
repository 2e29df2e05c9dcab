"""Where a daemon or coordinator answers, and how it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from replicator.errors import UsageError
from replicator.files import PEM_BYTES_MAX, read_regular
from replicator.model.units import format_address, is_loopback, parse_address

_ANSWER_BYTES_MAX = 64 << 20

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
    # A proxy set in the environment is for the web; it would hide a daemon on this machine or in this network.
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a daemon answers and how it is trusted.

    On loopback without any TLS file the connection is plain text; everything else is TLS, with the system's
    roots unless `ca_file` is given.

    Attributes:
        address: `host:port`.
        ca_file: CA of the daemon's certificate.
        cert_file: Our certificate.
        key_file: Its key.
        timeout_seconds: How long most answers may take.
        token_file: The token that orders carry on loopback; None: the file that the daemon names.
    """

    address: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout_seconds: float = 10.0
    token_file: Path | None = None

    def asks_for_token(self) -> bool:
        """Return whether orders may need the state directory's token: on this machine, without a certificate."""
        try:
            host, _ = parse_address(self.address)
        except ValueError:
            return False
        return is_loopback(host) and self.cert_file is None

    def dialled(self) -> tuple[str, grpc.ChannelCredentials | None]:
        """Return the address in gRPC's form, and the credentials; None for plain text.

        Raises:
            UsageError: The address or a TLS file is not valid.
        """
        try:
            address = parse_address(self.address)
        except ValueError as error:
            raise UsageError(f"the daemon's address: {error}") from error
        files = (self.ca_file, self.cert_file, self.key_file)
        if is_loopback(address[0]) and not any(files):
            return format_address(address), None
        if (self.cert_file is None) != (self.key_file is None):
            raise UsageError(
                "a client certificate needs its key, and a key its certificate",
                next_step="give both --tls-cert and --tls-key",
            )
        try:
            roots, chain, key = (read_regular(path, PEM_BYTES_MAX) if path else None for path in files)
        except OSError as error:
            raise UsageError("a TLS file cannot be read", why=str(error)) from error
        return format_address(address), grpc.ssl_channel_credentials(roots, private_key=key, certificate_chain=chain)

    def blocking_channel(self) -> grpc.Channel:
        """Return a connection for a command; nothing is sent before it is used.

        Raises:
            UsageError: The address or a TLS file is not valid.
        """
        target, credentials = self.dialled()
        if credentials is None:
            return grpc.insecure_channel(target, options=OPTIONS)
        return grpc.secure_channel(target, credentials, options=OPTIONS)

    def channel(self, *, apart: bool = False) -> grpc.aio.Channel:
        """Return a connection for asyncio; nothing is sent before it is used.

        Args:
            apart: Share it with no other channel: a connection takes a bounded number of concurrent calls.

        Raises:
            UsageError: The address or a TLS file is not valid.
        """
        target, credentials = self.dialled()
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)] if apart else OPTIONS
        if credentials is None:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(target, credentials, options=options)
