"""How a caller on the daemon's machine finds the token that orders carry, and who may receive it.

Without TLS a caller does not know who listens. While the daemon is down, another user of the machine may, and would
learn the token: so it is sent only if the process that listens belongs to the file's owner or to root.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path
from typing import NamedTuple

from replicator.control.order_token import FILE_BYTES_MAX, FILE_NAME, FORM, METADATA_KEY
from replicator.errors import AccessDenied
from replicator.model.text import command
from replicator.model.units import parse_address
from replicator.rpc.client.endpoint import Endpoint

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENING = "0A"
_WORD_HEX = 8
_ROOT = 0


Metadata = tuple[tuple[str, str], ...]
NO_TOKEN: Metadata = ()


def metadata_for(endpoint: Endpoint, known_by: str, token_file: str) -> Metadata:
    """Return what an order to a daemon carries, given how the daemon identifies callers.

    Args:
        endpoint: The daemon.
        known_by: What it says: `token`, or anything else.
        token_file: The token's file, as it says.

    Raises:
        AccessDenied: The token cannot be used, or is not given to whoever listens there.
    """
    if known_by != "token":
        return NO_TOKEN
    return order_metadata(Path(token_file), endpoint.address, named_by_daemon=True)


def order_metadata(path: Path, address: str, *, named_by_daemon: bool) -> Metadata:
    """Return what an order carries.

    Args:
        path: The token's file.
        address: The daemon's (`host:port`).
        named_by_daemon: Whether the path comes from whatever listens there, and not from an operator.

    Raises:
        AccessDenied: The file cannot be used, or someone other than its owner listens.
    """
    if named_by_daemon and path.name != FILE_NAME:
        raise AccessDenied(
            f"what listens at {address} asks for {path}, which is not a token", next_step="see who listens: ss -ltnp"
        )
    token, owner = _read(path)
    _check_listener(address, owner, named_by_daemon=named_by_daemon)
    return ((METADATA_KEY, token),)


def _read(path: Path) -> tuple[str, int]:
    """Return the token and the file's owner."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(file)
            text = os.read(file, FILE_BYTES_MAX) if stat.S_ISREG(status.st_mode) else b""
        finally:
            os.close(file)
    except OSError as error:
        raise AccessDenied(
            f"the token for orders, {path}, cannot be read",
            why=error.strerror or str(error),
            next_step="run the command as the user who runs the daemon (sudo -u USER),"
            " or set REPLICATOR_TOKEN_FILE to a copy",
        ) from error
    if status.st_uid not in {os.geteuid(), _ROOT} and os.geteuid() != _ROOT:
        raise AccessDenied(f"the token {path} belongs to user id {status.st_uid}", next_step="find out who made it")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or not FORM.fullmatch(text):
        raise AccessDenied(
            f"{path} holds no token, or others can read it",
            next_step=f"{command('rm', str(path))}: the daemon makes a new one at the next order",
        )
    return text[:-1].decode(), status.st_uid


class _Listener(NamedTuple):
    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    uid: int


def _check_listener(address: str, owner: int, *, named_by_daemon: bool) -> None:
    """Return if the token's owner listens.

    Behind a forwarded port nobody listens here; then an operator must have named the file.
    """
    host, port = parse_address(address)
    there = [one for one in _listeners() if one.port == port]
    try:
        wanted = ipaddress.ip_address(host)
        exact = [one for one in there if one.host == wanted]
        there = exact or [one for one in there if one.host.is_unspecified]
    except ValueError:  # a host name: any of its addresses
        there = [one for one in there if one.host.is_unspecified or one.host.is_loopback]
    foreign = {one.uid for one in there} - {owner, _ROOT}
    if foreign or (named_by_daemon and not there):
        who = f"user id {min(foreign)} listens there" if foreign else "no listener is visible there"
        raise AccessDenied(
            f"the token for orders is not given to what answers at {address}",
            why=f"{who}, but the token belongs to user id {owner}",
            next_step="see who listens: ss -ltnp; behind a forwarded port, set REPLICATOR_TOKEN_FILE to the file",
        )


def _listeners() -> list[_Listener]:
    found = []
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == _LISTENING:
                host, port = words[1].split(":")
                found.append(_Listener(_host(host), int(port, 16), int(words[7])))
    return found


def _host(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address from the kernel's table: words of 32 bits, each in this machine's byte order."""
    words = [int(text[at : at + _WORD_HEX], 16).to_bytes(4, "little") for at in range(0, len(text), _WORD_HEX)]
    host = ipaddress.ip_address(b"".join(words))
    # gRPC listens for IPv4 on an IPv6 socket.
    return (isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped) or host
