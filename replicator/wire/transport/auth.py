"""SASL logins: PLAIN, SCRAM-SHA-256/512 (RFC 5802, by scramp) and OAUTHBEARER (RFC 7628).

Secrets are read from their file or command at every login, so a rotated secret is used without a restart.
"""

from __future__ import annotations

import base64
import json
import time
from functools import partial
from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode
from kio.schema.sasl_authenticate.v2.request import SaslAuthenticateRequest
from kio.schema.sasl_authenticate.v2.response import SaslAuthenticateResponse
from kio.schema.sasl_handshake.v1.request import SaslHandshakeRequest
from kio.schema.sasl_handshake.v1.response import SaslHandshakeResponse
from scramp import ScramClient, ScramException

from replicator.credentials import read_password, read_token
from replicator.errors import AuthenticationFailed
from replicator.model.security import Mechanism
from replicator.model.text import said
from replicator.model.units import format_age

if TYPE_CHECKING:
    from replicator.aio.threads import Threads
    from replicator.model.security import ClusterSpec
    from replicator.wire.protocol.versions import Caller

_ROUNDS_MAX = 1_000_000
"""Rounds of a SCRAM hash: they take a third of a second. Kafka's own brokers use at most 16,384."""


async def authenticate(connection: Caller, cluster: ClusterSpec, threads: Threads) -> float | None:
    """Log in; return for how many seconds the login is valid (None: without limit).

    Secrets are read, and hashes computed, on `threads`.

    Raises:
        AuthenticationFailed: The broker refused, or a secret cannot be read.
        KafkaError: The connection failed meanwhile.
    """
    mechanism = cluster.security.mechanism
    if mechanism is None:
        raise _failed(cluster, "no mechanism is set", f"set clusters.{cluster.alias}.security.mechanism")
    shake = await connection.call(SaslHandshakeRequest(mechanism=mechanism.value), SaslHandshakeResponse, urgent=True)
    if shake.error_code is ErrorCode.illegal_sasl_state:
        # The connection was logged in to less than a second ago.
        raise _failed(
            cluster,
            "the broker accepts no further login on this connection now (ILLEGAL_SASL_STATE): the last one was valid "
            "only for seconds",
            f"{_what_to_check(cluster)}; a login must be valid for longer than that",
        )
    if shake.error_code is not ErrorCode.none:
        offered = said(", ".join(shake.mechanisms)) or "none"
        raise _failed(
            cluster,
            f"the broker does not accept {mechanism}; it offers {offered}",
            f"set clusters.{cluster.alias}.security.mechanism to one it offers",
        )
    if mechanism is Mechanism.PLAIN:
        password = await threads.run(partial(read_password, cluster))
        return await _exchange(connection, cluster, f"\0{cluster.security.username}\0{password}".encode())
    if mechanism is Mechanism.OAUTHBEARER:
        token = await threads.run(partial(read_token, cluster))
        return await _bearer(connection, cluster, token)
    return await _scram(connection, cluster, mechanism, threads)


async def _scram(connection: Caller, cluster: ClusterSpec, mechanism: Mechanism, threads: Threads) -> float | None:
    password = await threads.run(partial(read_password, cluster))
    client = ScramClient([mechanism.value], cluster.security.username or "", password)
    try:
        first = await _step(connection, cluster, client.get_client_first().encode())
        server_first = first.auth_bytes.decode()
        _check_rounds(server_first)
        client.set_server_first(server_first)
        proof = await threads.run(client.get_client_final)
        final = await _step(connection, cluster, proof.encode())
        # Here the server proves that it knows the password, too: otherwise a stranger could pose as the broker.
        client.set_server_final(final.auth_bytes.decode())
    except (ScramException, UnicodeDecodeError) as error:
        raise _failed(
            cluster,
            f"the SCRAM exchange failed: {said(str(error))}",
            f"check username and password of clusters.{cluster.alias}.security",
            refused=True,
        ) from error
    return _lifetime_seconds(final)


def _check_rounds(server_first: str) -> None:
    """Refuse a login that would take minutes; scramp finds whatever else may be wrong with the message.

    Raises:
        ScramException: The broker asks for more rounds than `_ROUNDS_MAX`.
    """
    rounds = next((part[2:] for part in server_first.split(",") if part.startswith("i=")), "")
    if len(rounds) > len(str(_ROUNDS_MAX)) or (rounds.isdecimal() and int(rounds) > _ROUNDS_MAX):
        raise ScramException(f"the broker asks for {rounds[:20]} rounds of the hash; at most {_ROUNDS_MAX:,} are done")


async def _exchange(connection: Caller, cluster: ClusterSpec, message: bytes) -> float | None:
    return _lifetime_seconds(await _step(connection, cluster, message))


async def _bearer(connection: Caller, cluster: ClusterSpec, token: str) -> float | None:
    reasons: list[str] = []
    try:
        answer = await _step(connection, cluster, f"n,,\x01auth=Bearer {token}\x01\x01".encode())
        if not answer.auth_bytes:
            return _lifetime_seconds(answer)
        # To a refused token a broker responds with a JSON challenge and no error code. The client has to acknowledge
        # that before the broker fails the login (RFC 7628, section 3.2.3).
        reasons.append(said(answer.auth_bytes.decode(errors="replace")))
        await _step(connection, cluster, b"\x01")
    except AuthenticationFailed as error:
        reasons.append(error.why)
    why = f"the token was refused: {'; '.join(reasons)}{_expiry(token)}"
    raise _failed(cluster, why, _what_to_check(cluster), refused=True)


def _expiry(token: str) -> str:
    """Return a note that a token has expired, if it is a JWT that says so (RFC 7519); nothing else of it is shown."""
    try:
        payload = token.split(".")[1]
        expires = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        age_seconds = time.time() - float(expires)
    except (IndexError, KeyError, TypeError, ValueError):
        return ""
    return f"; by its own `exp` it expired {format_age(age_seconds)} ago" if age_seconds > 0 else ""


def _what_to_check(cluster: ClusterSpec) -> str:
    security, where = cluster.security, f"clusters.{cluster.alias}.security"
    if security.mechanism is Mechanism.OAUTHBEARER:
        if security.token_file is not None:
            return f"make sure that whatever writes {security.token_file} renews the token before it expires"
        program = security.token_command[0] if security.token_command else "token_command"
        return f"run {program} by hand as this user: it must print a token that has not expired ({where})"
    return f"check username, password and mechanism of {where}"


async def _step(connection: Caller, cluster: ClusterSpec, message: bytes) -> SaslAuthenticateResponse:
    answer = await connection.call(SaslAuthenticateRequest(auth_bytes=message), SaslAuthenticateResponse, urgent=True)
    if answer.error_code is not ErrorCode.none:
        why = said(answer.error_message or answer.error_code.name)
        raise _failed(cluster, why, _what_to_check(cluster), refused=True)
    return answer


def _lifetime_seconds(answer: SaslAuthenticateResponse) -> float | None:
    seconds: float = answer.session_lifetime.total_seconds()
    return seconds if seconds > 0 else None


def _failed(cluster: ClusterSpec, why: str, next_step: str, *, refused: bool = False) -> AuthenticationFailed:
    who = f" as {cluster.security.username!r}" if cluster.security.username else ""
    return AuthenticationFailed(
        f"cluster {cluster.alias!r} cannot be logged in to{who}",
        cluster=cluster.alias,
        why=why,
        next_step=next_step,
        refused=refused,
    )
