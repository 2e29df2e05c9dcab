"""HOST:PORT as people write it."""

from __future__ import annotations

import ipaddress

from replicator.errors import UsageError

DEFAULT_ADDRESS = "127.0.0.1:7443"
_PORT_MAX = 65535


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`.

    Raises:
        UsageError: It is neither.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) <= _PORT_MAX:
        raise UsageError(f"{text!r} is not an address", next_step=f"write HOST:PORT, such as {DEFAULT_ADDRESS}")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach that host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
