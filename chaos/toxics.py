"""Proxies and toxics of a Toxiproxy server, by toxiproxy-python.

That library is of 2019: the server's address is a class attribute (so there is one server per process), nothing has
a time-out, answers of 500 and above pass as success, and it would follow ``HTTP_PROXY`` on loopback. Hence this wrapper
around its lowest layer, which is all that takes arguments for these.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from chaos.errors import ChaosError
from replicator.devkit.brokers.config import HOST

CALL_SECONDS_MAX = 5.0

_PLAIN: dict[str, Any] = {"timeout": CALL_SECONDS_MAX, "proxies": {"http": "", "all": ""}}
_REFUSED = 400


class Toxics:
    """The one server of this process.

    Args:
        port: Where its HTTP interface listens.
    """

    def __init__(self, port: int) -> None:
        APIConsumer.host, APIConsumer.port = HOST, port

    def add_proxy(self, name: str, listen_port: int, upstream_port: int) -> None:
        """Forward a port to another one, both on loopback.

        Raises:
            ChaosError: The server refused, or did not answer.
        """
        ends = {"listen": f"{HOST}:{listen_port}", "upstream": f"{HOST}:{upstream_port}"}
        self._call("post", "/proxies", {"name": name, **ends, "enabled": True})

    def add(self, proxy: str, name: str, kind: str, *, upstream: bool, attributes: Mapping[str, int]) -> None:
        """Add a toxic to a proxy.

        Args:
            proxy: Name of the proxy.
            name: Of the toxic, for `remove`.
            kind: Toxiproxy's own name of it: latency, bandwidth, timeout, reset_peer, slicer, limit_data.
            upstream: Whether it harms requests; else answers.
            attributes: As in Toxiproxy's documentation.

        Raises:
            ChaosError: The server refused, or did not answer.
        """
        stream = "upstream" if upstream else "downstream"
        body = {"name": name, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": dict(attributes)}
        self._call("post", f"/proxies/{proxy}/toxics", body)

    def names(self, proxy: str) -> list[str]:
        """Return the toxics of a proxy.

        Raises:
            ChaosError: The server refused, or did not answer.
        """
        return [str(toxic["name"]) for toxic in self._call("get", f"/proxies/{proxy}/toxics").json()]

    def remove(self, proxy: str, name: str) -> None:
        """Remove a toxic; its connections go on, or end as the toxic has it.

        Raises:
            ChaosError: There is none of that name, or the server did not answer.
        """
        self._call("delete", f"/proxies/{proxy}/toxics/{name}")

    def _call(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            extra = {} if body is None else {"json": body}
            answer = getattr(APIConsumer, verb)(path, **extra, **_PLAIN)
        except (InvalidToxic, NotFound, ProxyExists, OSError) as error:  # what `requests` raises is an OSError
            raise ChaosError(f"toxiproxy: {verb} {path} failed", why=str(error)) from error
        if answer.status_code >= _REFUSED:
            raise ChaosError(f"toxiproxy: {verb} {path} failed", why=f"{answer.status_code} {answer.text[:300]}")
        return answer


def answers(port: int) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((HOST, port), timeout=CALL_SECONDS_MAX):
            return True
    except OSError:
        return False
