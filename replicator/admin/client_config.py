"""From a `ClusterSpec` to the configuration of a librdkafka client.

Secrets are read from their files here, at each new client, and never show in the mapping's repr.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import subprocess
import time
from typing import TYPE_CHECKING, Any

from replicator.errors import AuthenticationFailed
from replicator.model.security import Mechanism

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replicator.model.security import ClusterSpec, Security

_SECRET_KEYS = frozenset({"sasl.password", "ssl.key.password"})
_TOKEN_COMMAND_SECONDS_MAX = 30.0
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
            "bootstrap.servers": ",".join(_address(host, port) for host, port in cluster.bootstrap),
            "client.id": "replicator",
            "security.protocol": cluster.security.protocol.value,
            "socket.timeout.ms": _milliseconds(cluster.request_timeout_seconds),
            "socket.connection.setup.timeout.ms": max(1000, _milliseconds(min(cluster.request_timeout_seconds, 30.0))),
            # No request of ours may create a topic; librdkafka's admin client is a producer, whose default is on.
            "allow.auto.create.topics": False,
            "logger": DebugLog(),
        }
    )
    if cluster.security.protocol.tls:
        config.update(_tls(cluster.security))
    if cluster.security.protocol.sasl:
        config.update(_sasl(cluster))
    return config


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
    sasl["sasl.password"] = _password(cluster)
    return sasl


def _password(cluster: ClusterSpec) -> str:
    security = cluster.security
    if security.password_file is not None:
        return _read_secret(cluster, security.password_file)
    return security.password.reveal() if security.password is not None else ""


def _read_secret(cluster: ClusterSpec, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AuthenticationFailed(
            f"cannot read the secret file {path} of cluster {cluster.alias}",
            cluster=cluster.alias,
            why=getattr(error, "strerror", None) or type(error).__name__,
            next_step=f"make {path} readable for this user, or correct clusters.{cluster.alias}.security",
        ) from None  # the original may quote bytes of the secret


def token_callback(cluster: ClusterSpec) -> Callable[[str], tuple[str, float]]:
    """Return librdkafka's `oauth_cb`: it yields (token, expiry in seconds since 1970) and is asked again in time."""

    def fetch(_config: str) -> tuple[str, float]:
        token = _token(cluster)
        return token, _expiry(token)

    return fetch


def _token(cluster: ClusterSpec) -> str:
    security = cluster.security
    if security.token_file is not None:
        return _read_secret(cluster, security.token_file).strip()
    if security.token_command is None:
        raise AuthenticationFailed(
            f"cluster {cluster.alias} uses OAUTHBEARER and has no token",
            cluster=cluster.alias,
            next_step=f"set clusters.{cluster.alias}.security.token_file or token_command",
        )
    program = security.token_command[0]
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, no shell
            security.token_command,
            capture_output=True,
            check=True,
            text=True,
            timeout=_TOKEN_COMMAND_SECONDS_MAX,
        )
        return done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise AuthenticationFailed(
            f"the token command of cluster {cluster.alias} gave no token",
            cluster=cluster.alias,
            why=f"{program}: {type(error).__name__}",
            next_step=f"run {program} by hand as this user",
        ) from None  # the original carries the command's output


def _expiry(token: str) -> float:
    """Return when a JWT expires, in seconds since 1970; for any other token, a short while from now."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return time.time() + _OPAQUE_TOKEN_SECONDS
