"""SASL logins: PLAIN, SCRAM-SHA-256/512 (RFC 5802, by scramp) and OAUTHBEARER (RFC 7628).

Secrets are read from their file or command at every login, so a rotated one is used without a restart.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode
from kio.schema.sasl_authenticate.v2.request import SaslAuthenticateRequest
from kio.schema.sasl_authenticate.v2.response import SaslAuthenticateResponse
from kio.schema.sasl_handshake.v1.request import SaslHandshakeRequest
from kio.schema.sasl_handshake.v1.response import SaslHandshakeResponse
from scramp import ScramClient, ScramException

from replicator.errors import AuthenticationFailed
from replicator.model.security import Mechanism

if TYPE_CHECKING:
    from replicator.model.security import ClusterSpec
    from replicator.wire.versions import Caller

_TOKEN_COMMAND_SECONDS = 10.0
_TOKEN_BYTES_MAX = 64 << 10


async def authenticate(connection: Caller, cluster: ClusterSpec) -> float | None:
    """Log in, and return for how many seconds the login holds (None: without limit).

    Raises:
        AuthenticationFailed: The broker refused, or a secret cannot be read.
        KafkaError: The connection failed meanwhile.
    """
    mechanism = cluster.security.mechanism
    if mechanism is None:
        raise _failed(cluster, "no mechanism is set", f"set clusters.{cluster.alias}.security.mechanism")
    shake = await connection.call(SaslHandshakeRequest(mechanism=mechanism.value), SaslHandshakeResponse, urgent=True)
    if shake.error_code is not ErrorCode.none:
        offered = ", ".join(shake.mechanisms) or "none"
        raise _failed(
            cluster,
            f"the broker does not take {mechanism}; it offers {offered}",
            f"set clusters.{cluster.alias}.security.mechanism to one it offers",
        )
    if mechanism is Mechanism.PLAIN:
        password = read_password(cluster)
        return await _exchange(connection, cluster, f"\0{cluster.security.username}\0{password}".encode())
    if mechanism is Mechanism.OAUTHBEARER:
        token = await asyncio.to_thread(_read_token_file, cluster) or await _run_token_command(cluster)
        return await _exchange(connection, cluster, f"n,,\x01auth=Bearer {token}\x01\x01".encode())
    return await _scram(connection, cluster, mechanism)


def read_password(cluster: ClusterSpec) -> str:
    """Return the password as it is now.

    Raises:
        AuthenticationFailed: Its file cannot be read.
    """
    security = cluster.security
    if security.password_file is None:
        return security.password.reveal() if security.password else ""
    try:
        return security.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(
            cluster,
            f"{security.password_file} cannot be read: {_os_reason(error)}",
            f"check clusters.{cluster.alias}.security.password_file and its rights",
        ) from error


def _read_token_file(cluster: ClusterSpec) -> str | None:
    path = cluster.security.token_file
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_TOKEN_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(
            cluster,
            f"{path} cannot be read: {_os_reason(error)}",
            f"check clusters.{cluster.alias}.security.token_file and its rights",
        ) from error


async def _run_token_command(cluster: ClusterSpec) -> str:
    """Run the token command without a shell; the token is the first line it prints."""
    command = cluster.security.token_command
    key = f"clusters.{cluster.alias}.security.token_command"
    if not command:
        raise _failed(cluster, "OAUTHBEARER needs a token", f"set {key} or token_file")
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_TOKEN_BYTES_MAX,
        )
    except OSError as error:
        raise _failed(cluster, f"{command[0]} cannot be started: {_os_reason(error)}", f"check {key}") from error
    try:
        async with asyncio.timeout(_TOKEN_COMMAND_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise _failed(
            cluster, f"{command[0]} gave no token within {_TOKEN_COMMAND_SECONDS:g} s", f"check {key}"
        ) from error
    token = output.decode(errors="replace").partition("\n")[0].strip()
    if process.returncode or not token:
        raise _failed(cluster, f"{command[0]} ended with {process.returncode} and no token", f"check {key}")
    return token


async def _scram(connection: Caller, cluster: ClusterSpec, mechanism: Mechanism) -> float | None:
    client = ScramClient([mechanism.value], cluster.security.username or "", read_password(cluster))
    try:
        first = await _step(connection, cluster, client.get_client_first().encode())
        client.set_server_first(first.auth_bytes.decode())
        final = await _step(connection, cluster, client.get_client_final().encode())
        # The server proves here that it knows the password too: without this a stranger could pose as the broker.
        client.set_server_final(final.auth_bytes.decode())
    except (ScramException, UnicodeDecodeError) as error:
        raise _failed(
            cluster,
            f"the SCRAM exchange failed: {error}",
            f"check username and password of clusters.{cluster.alias}.security",
        ) from error
    return _lifetime_seconds(final)


async def _exchange(connection: Caller, cluster: ClusterSpec, message: bytes) -> float | None:
    return _lifetime_seconds(await _step(connection, cluster, message))


async def _step(connection: Caller, cluster: ClusterSpec, message: bytes) -> SaslAuthenticateResponse:
    answer = await connection.call(SaslAuthenticateRequest(auth_bytes=message), SaslAuthenticateResponse, urgent=True)
    if answer.error_code is not ErrorCode.none:
        raise _failed(
            cluster,
            answer.error_message or answer.error_code.name,
            f"check username, password and mechanism of clusters.{cluster.alias}.security",
        )
    return answer


def _lifetime_seconds(answer: SaslAuthenticateResponse) -> float | None:
    seconds = answer.session_lifetime.total_seconds()
    return seconds if seconds > 0 else None


def _os_reason(error: OSError | UnicodeDecodeError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _failed(cluster: ClusterSpec, why: str, next_step: str) -> AuthenticationFailed:
    who = f" as {cluster.security.username!r}" if cluster.security.username else ""
    return AuthenticationFailed(
        f"cluster {cluster.alias!r} cannot be logged in to{who}",
        cluster=cluster.alias,
        why=why,
        next_step=next_step,
    )
