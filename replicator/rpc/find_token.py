"""How a caller on the daemon's machine finds the token that orders carry, and to whom it is given.

Without TLS a caller does not know who listens. Another user of the machine may, while the daemon is down, and would
learn the token: so it goes only to what the file's owner (or root) listens with.
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
from replicator.rpc.endpoint import Endpoint

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENING = "0A"
_WORD_HEX = 8
_ROOT = 0


Metadata = tuple[tuple[str, str], ...]
NO_TOKEN: Metadata = ()


def metadata_for(endpoint: Endpoint, known_by: str, token_file: str) -> Metadata:
    """Return what an order carries to a daemon that says how it knows orders.

    Args:
        endpoint: The daemon.
        known_by: What it says: `token`, or anything else.
        token_file: Where it says that the token is.

    Raises:
        AccessDenied: The token cannot be used, or is not given to whoever listens there.
    """
    if known_by != "token":
        return NO_TOKEN
    return order_metadata(Path(token_file), endpoint.address, told=True)


def order_metadata(path: Path, address: str, *, told: bool) -> Metadata:
    """Return what an order carries.

    Args:
        path: The token's file.
        address: Of the daemon (`host:port`).
        told: Whether whoever listens there told the path, rather than an operator.

    Raises:
        AccessDenied: The file cannot be used, or it is not its owner who listens.
    """
    if told and path.name != FILE_NAME:
        raise AccessDenied(f"what listens at {address} asks for {path}, which is no token", next_step="who is it?")
    token, owner = _read(path)
    _check_listener(address, owner, told=told)
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
            next_step="give the command as the user who runs the daemon (sudo -u USER),"
            " or let REPLICATOR_TOKEN_FILE name a copy",
        ) from error
    if status.st_uid not in {os.geteuid(), _ROOT} and os.geteuid() != _ROOT:
        raise AccessDenied(f"the token {path} belongs to user id {status.st_uid}", next_step="see who made it")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or not FORM.fullmatch(text):
        raise AccessDenied(
            f"{path} holds no token, or others can read it",
            next_step=f"{command('rm', str(path))}: the daemon makes a new one with the next order",
        )
    return text[:-1].decode(), status.st_uid


class _Listener(NamedTuple):
    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    uid: int


def _check_listener(address: str, owner: int, *, told: bool) -> None:
    """Return if it is the token's owner who listens.

    Behind a forwarded port nobody listens here; then an operator has to have named the file.
    """
    host, port = parse_address(address)
    there = [one for one in _listeners() if one.port == port]
    try:
        wanted = ipaddress.ip_address(host)
        exact = [one for one in there if one.host == wanted]
        there = exact or [one for one in there if one.host.is_unspecified]
    except ValueError:  # a name: whichever of its addresses is taken
        there = [one for one in there if one.host.is_unspecified or one.host.is_loopback]
    foreign = {one.uid for one in there} - {owner, _ROOT}
    if foreign or (told and not there):
        who = f"user id {min(foreign)} listens there" if foreign else "nobody is seen to listen there"
        raise AccessDenied(
            f"the token for orders is not given to what answers at {address}",
            why=f"{who}, and the token belongs to user id {owner}",
            next_step="see who listens: ss -ltnp; behind a forwarded port name the file in REPLICATOR_TOKEN_FILE",
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
    """Return an address of the kernel's table: words of 32 bits, each in this machine's byte order."""
    words = [int(text[at : at + _WORD_HEX], 16).to_bytes(4, "little") for at in range(0, len(text), _WORD_HEX)]
    host = ipaddress.ip_address(b"".join(words))
    # gRPC listens for IPv4 with a socket for IPv6.
    return (isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped) or host
