"""SASL logins against a scripted peer."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.sasl_authenticate.v2.request import SaslAuthenticateRequest
from kio.schema.sasl_authenticate.v2.response import SaslAuthenticateResponse
from kio.schema.sasl_handshake.v1.request import SaslHandshakeRequest
from kio.schema.sasl_handshake.v1.response import SaslHandshakeResponse
from kio.static.primitive import i64Timedelta
from scramp import ScramMechanism

from replicator.aio.threads import Threads
from replicator.credentials import read_password
from replicator.errors import AuthenticationFailed
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Secret, Security
from replicator.wire.transport.auth import authenticate

SECRET = "hunter2-never-shown"  # noqa: S105 - the point of the tests
PLAIN = Security(protocol=Protocol.SASL_SSL, mechanism=Mechanism.PLAIN, username="repl", password=Secret(SECRET))


def cluster(security: Security = PLAIN) -> ClusterSpec:
    """Return a cluster."""
    return ClusterSpec("east", (("127.0.0.1", 1),), security=security)


class Broker:
    """Answers a login message by message; keeps what it heard."""

    node = "broker 1"

    def __init__(
        self,
        answer: Callable[[bytes], bytes] = lambda _: b"",
        *,
        refuse: ErrorCode = ErrorCode.none,
        lifetime: timedelta = timedelta(0),
        offered: tuple[str, ...] = ("PLAIN",),
        shake: ErrorCode = ErrorCode.none,
    ) -> None:
        self.cluster = cluster()
        self.mechanism = ""
        self.heard: list[bytes] = []
        self._answer = answer
        self._refuse = refuse
        self._lifetime = lifetime
        self._offered = offered
        self._shake = shake

    async def call(self, request: Any, answer: Any, *, urgent: bool = False) -> Any:
        """Answer one message."""
        assert urgent
        if isinstance(request, SaslHandshakeRequest):
            self.mechanism = request.mechanism
            return SaslHandshakeResponse(error_code=self._shake, mechanisms=self._offered)
        assert isinstance(request, SaslAuthenticateRequest)
        assert answer is SaslAuthenticateResponse
        self.heard.append(request.auth_bytes)
        return SaslAuthenticateResponse(
            error_code=self._refuse,
            error_message="no" if self._refuse is not ErrorCode.none else None,
            auth_bytes=self._answer(request.auth_bytes),
            session_lifetime=i64Timedelta.parse(self._lifetime),
        )


async def failure(broker: Broker, security: Security) -> AuthenticationFailed:
    """Return how a login fails; no secret is in it."""
    with pytest.raises(AuthenticationFailed) as caught:
        await authenticate(broker, cluster(security), Threads("east"))
    error = caught.value
    assert SECRET not in f"{error} {error.why} {error.next_step} {error!r} {security!r}"
    return error


async def test_plain_sends_user_and_password() -> None:
    """RFC 4616, without an authorization id."""
    broker = Broker()

    assert await authenticate(broker, cluster(), Threads("east")) is None
    assert (broker.mechanism, broker.heard) == ("PLAIN", [b"\0repl\0" + SECRET.encode()])


async def test_the_lifetime_of_a_login_is_told() -> None:
    """So that it is renewed before it ends."""
    assert await authenticate(Broker(lifetime=timedelta(seconds=90)), cluster(), Threads("east")) == 90.0


async def test_a_refusal_names_the_user_and_not_the_password() -> None:
    """With the broker's words."""
    error = await failure(Broker(refuse=ErrorCode.sasl_authentication_failed), PLAIN)

    assert ("repl" in error.what, error.why) == (True, "no")


async def test_a_mechanism_that_is_not_offered_names_those_that_are() -> None:
    """Nothing secret was sent before."""
    broker = Broker(shake=ErrorCode.unsupported_sasl_mechanism, offered=("GSSAPI", "SCRAM-SHA-512"))
    error = await failure(broker, PLAIN)

    assert "it offers GSSAPI, SCRAM-SHA-512" in error.why
    assert broker.heard == []


async def test_no_mechanism_is_a_failure() -> None:
    """Not a silent login without one."""
    assert "no mechanism" in (await failure(Broker(), replace(PLAIN, mechanism=None))).why


async def test_a_password_file_is_read_at_every_login(tmp_path: Path) -> None:
    """A rotated password is used without a restart; the line end is not part of it."""
    path = tmp_path / "secret"
    security = replace(PLAIN, password=None, password_file=path)
    broker = Broker()
    for password in ("first", "second"):
        await asyncio.to_thread(path.write_text, f"{password}\n", encoding="utf-8")
        await authenticate(broker, cluster(security), Threads("east"))

    assert broker.heard == [b"\0repl\0first", b"\0repl\0second"]


async def test_a_password_file_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    """Which names the file."""
    security = replace(PLAIN, password=None, password_file=tmp_path / "gone")

    assert str(tmp_path / "gone") in str(await failure(Broker(), security))
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert "binary" in str(await failure(Broker(), replace(security, password_file=binary)))


def test_no_password_is_an_empty_one() -> None:
    """The broker decides about it."""
    assert read_password(cluster(replace(PLAIN, password=None))) == ""


# -- SCRAM --------------------------------------------------------------------------------------------------


def scram_server(mechanism: str, password: str) -> Callable[[bytes], bytes]:
    """Return a server's side of an exchange, by scramp."""
    scram = ScramMechanism(mechanism)
    info = scram.make_auth_info(password)
    server = scram.make_server(lambda _: info)

    def answer(message: bytes) -> bytes:
        if message.startswith(b"n,"):
            server.set_client_first(message.decode())
            return str(server.get_server_first()).encode()
        server.set_client_final(message.decode())
        return str(server.get_server_final()).encode()

    return answer


@pytest.mark.parametrize("mechanism", [Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_512])
async def test_scram_proves_both_sides(mechanism: Mechanism) -> None:
    """And the password itself is never sent."""
    broker = Broker(scram_server(mechanism.value, SECRET))
    await authenticate(broker, cluster(replace(PLAIN, mechanism=mechanism)), Threads("east"))

    assert (broker.mechanism, len(broker.heard)) == (mechanism.value, 2)
    assert SECRET.encode() not in b"".join(broker.heard)


@pytest.mark.parametrize("final", [b"v=AAAA", b"e=invalid-proof", b"\xff", b""])
async def test_a_server_that_cannot_prove_itself_is_refused(final: bytes) -> None:
    """A stranger in the broker's place does not know the password."""
    real = scram_server("SCRAM-SHA-256", SECRET)
    broker = Broker(lambda message: real(message) if message.startswith(b"n,") else final)

    assert "SCRAM exchange failed" in (await failure(broker, replace(PLAIN, mechanism=Mechanism.SCRAM_SHA_256))).why


@pytest.mark.parametrize("first", [b"nonsense", b"", b"\xff\xff", b"r=x,s=eA==,i=4096"])
async def test_a_first_answer_that_is_no_scram_is_refused(first: bytes) -> None:
    """Also one whose nonce does not continue ours."""
    broker = Broker(lambda _: first)

    assert "SCRAM exchange failed" in (await failure(broker, replace(PLAIN, mechanism=Mechanism.SCRAM_SHA_512))).why


# -- OAUTHBEARER --------------------------------------------------------------------------------------------

OAUTH = replace(PLAIN, mechanism=Mechanism.OAUTHBEARER, username=None, password=None)


async def test_a_token_file_is_read_at_every_login(tmp_path: Path) -> None:
    """RFC 7628, and a rotated token is used at once."""
    path = tmp_path / "token"
    broker = Broker()
    for token in ("one", "two"):
        await asyncio.to_thread(path.write_text, f"{token}\n", encoding="utf-8")
        await authenticate(broker, cluster(replace(OAUTH, token_file=path)), Threads("east"))

    assert broker.heard == [b"n,,\x01auth=Bearer one\x01\x01", b"n,,\x01auth=Bearer two\x01\x01"]


async def test_a_token_command_is_run_at_every_login() -> None:
    """Its first line is the token; it gets no shell."""
    command = (sys.executable, "-c", "print('tok$HOME'); print('rest')")
    broker = Broker()
    await authenticate(broker, cluster(replace(OAUTH, token_command=command)), Threads("east"))

    assert broker.heard == [b"n,,\x01auth=Bearer tok$HOME\x01\x01"]


@pytest.mark.parametrize("code", [f"print({SECRET!r}); raise SystemExit(3)", "pass"])
async def test_a_token_command_that_fails_is_a_failure(code: str) -> None:
    """What it printed is never shown."""
    broker = Broker()
    error = await _oauth_failure(broker, (sys.executable, "-c", code))

    assert "no token" in str(error)
    assert SECRET not in f"{error}{error.why}{error.next_step}"
    assert broker.heard == []


async def test_a_token_command_that_is_not_there_is_a_failure() -> None:
    """Named as it was configured."""
    assert "/no/such/command" in str(await _oauth_failure(Broker(), ("/no/such/command",)))


async def test_no_source_of_a_token_is_a_failure() -> None:
    """Said before anything is sent."""
    assert "has no token" in str(await failure(Broker(), OAUTH))


async def _oauth_failure(broker: Broker, command: tuple[str, ...]) -> AuthenticationFailed:
    with pytest.raises(AuthenticationFailed) as caught:
        await authenticate(broker, cluster(replace(OAUTH, token_command=command)), Threads("east"))
    return caught.value


async def test_a_refused_token_is_a_failure(tmp_path: Path) -> None:
    """Kafka answers a bad token with error code 0 and a JSON challenge (OAuthBearerSaslServer, RFC 7628 3.2.2)."""
    path = tmp_path / "token"
    path.write_text("bad")
    broker = Broker(lambda _: b'{"status":"invalid_token"}')

    assert "invalid_token" in (await failure(broker, replace(OAUTH, token_file=path))).why


def jwt(expires: float) -> str:
    """Return a token that says when it expires; its signature is not looked at."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in (
            {"alg": "none"},
            {"sub": "repl", "exp": expires},
        )
    )
    return f"{head}.{body}.{SECRET}"


@pytest.mark.parametrize("refuse", [ErrorCode.none, ErrorCode.sasl_authentication_failed])
async def test_an_expired_token_is_called_so(tmp_path: Path, refuse: ErrorCode) -> None:
    """Whichever way the broker refuses it; nothing but its own `exp` is shown, and no password is spoken of."""
    path = tmp_path / "token"
    path.write_text(jwt(time.time() - 90))
    error = await failure(Broker(lambda _: b"{}", refuse=refuse), replace(OAUTH, token_file=path))
    assert "by its own `exp` it expired 1m30s ago" in error.why
    assert error.next_step == f"make sure that whatever writes {path} renews the token before it expires"
    assert "password" not in f"{error}{error.next_step}"
    path.write_text(jwt(time.time() + 90))
    error = await failure(Broker(lambda _: b"{}", refuse=refuse), replace(OAUTH, token_file=path))
    assert "expired" not in error.why


async def test_a_login_that_comes_too_soon_is_no_refusal_of_the_mechanism() -> None:
    """The broker names no mechanism then (KafkaChannel.maybeBeginServerReauthentication)."""
    broker = Broker(shake=ErrorCode.illegal_sasl_state, offered=())
    error = await failure(broker, replace(OAUTH, token_command=("get-token", "--now")))
    assert "offers" not in error.why
    assert "ILLEGAL_SASL_STATE" in error.why
    assert error.next_step.startswith("run get-token by hand as this user")


async def test_a_token_command_that_prints_no_text_is_a_failure() -> None:
    """And its bytes are in no message: the codec's own error would carry them."""
    code = f"import sys; sys.stdout.buffer.write({SECRET!r}.encode() + bytes([255]))"
    error = await _oauth_failure(Broker(), (sys.executable, "-c", code))

    assert SECRET not in repr(error)


async def test_an_empty_line_is_no_token() -> None:
    """Nothing is sent."""
    assert "no token" in str(await _oauth_failure(Broker(), (sys.executable, "-c", "print()")))
