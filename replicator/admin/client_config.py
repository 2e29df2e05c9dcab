"""From a `ClusterSpec` to the configuration of a librdkafka client.

Secrets are read from their files here, at each new client, and never show in the mapping's repr.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import time
from typing import TYPE_CHECKING, Any

from replicator.credentials import read_password, read_token
from replicator.model.security import Mechanism
from replicator.model.units import format_bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.model.security import ClusterSpec, Security

_SECRET_KEYS = frozenset({"sasl.password", "ssl.key.password"})
ANSWER_BYTES_MAX = 4 << 20
"""librdkafka copies the words of a refusal onto the stack of its thread, which has 8 MiB where nobody changed that: an
answer of 60 MB ended the process. What may be longer, all topics of a cluster, is asked for over our own wire."""
_OPAQUE_TOKEN_SECONDS = 300.0
"""How long a token without a readable `exp` is used before it is read again."""

_log = logging.getLogger("replicator.librdkafka")


class ClientConfig(dict[str, Any]):
    """A librdkafka configuration whose repr hides secrets."""

    def __repr__(self) -> str:
        return repr({key: "***" if key in _SECRET_KEYS else value for key, value in self.items()})

    __str__ = __repr__


class DebugLog:
    """Takes librdkafka's log lines at whatever level they claim and files them as debug.

    Its errors are repeated for as long as a broker is away; what matters of them reaches the caller as an
    exception, once.
    """

    def log(self, level: int, message: str, *args: object) -> None:
        """Record one line; the signature is the one confluent_kafka calls."""
        _log.debug(message, *args, extra={"librdkafka_level": level})


def client_config(cluster: ClusterSpec) -> ClientConfig:
    """Return what every client of that cluster needs; time-outs are the cluster's request time-out.

    Raises:
        AuthenticationFailed: The password or token file cannot be read.
    """
    config = ClientConfig(
        {
            "bootstrap.servers": format_bootstrap(cluster.bootstrap),
            "client.id": "replicator",
            "security.protocol": cluster.security.protocol.value,
            "socket.timeout.ms": _milliseconds(cluster.request_timeout_seconds),
            "socket.connection.setup.timeout.ms": max(1000, _milliseconds(min(cluster.request_timeout_seconds, 30.0))),
            # No request of ours may create a topic; librdkafka's admin client is a producer, whose default is on.
            "allow.auto.create.topics": False,
            "receive.message.max.bytes": ANSWER_BYTES_MAX,
            "logger": DebugLog(),
        }
    )
    if cluster.security.protocol.tls:
        config.update(_tls(cluster.security))
    if cluster.security.protocol.sasl:
        config.update(_sasl(cluster))
    return config


def _milliseconds(seconds: float) -> int:
    return max(10, int(seconds * 1000))


def _tls(security: Security) -> dict[str, Any]:
    files = {
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.cert_file,
        "ssl.key.location": security.key_file,
    }
    tls: dict[str, Any] = {key: str(path) for key, path in files.items() if path is not None}
    tls["ssl.endpoint.identification.algorithm"] = "https" if security.check_hostname else "none"
    return tls


def _sasl(cluster: ClusterSpec) -> dict[str, Any]:
    security = cluster.security
    mechanism = security.mechanism or Mechanism.PLAIN
    sasl: dict[str, Any] = {"sasl.mechanism": mechanism.value}
    if mechanism is Mechanism.OAUTHBEARER:
        callback = token_callback(cluster)
        callback("")  # librdkafka waits ten seconds for a token and hides why there is none; fail here instead
        sasl["oauth_cb"] = callback
        return sasl
    sasl["sasl.username"] = security.username or ""
    sasl["sasl.password"] = read_password(cluster)
    return sasl


def token_callback(cluster: ClusterSpec) -> Callable[[str], tuple[str, float]]:
    """Return librdkafka's `oauth_cb`: it yields (token, expiry in seconds since 1970) and is asked again in time."""

    def fetch(_config: str) -> tuple[str, float]:
        token = read_token(cluster)
        return token, _expiry(token)

    return fetch


def _expiry(token: str) -> float:
    """Return when a JWT expires, in seconds since 1970; for any other token, a short while from now."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return time.time() + _OPAQUE_TOKEN_SECONDS
