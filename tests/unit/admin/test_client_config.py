"""Configuration of librdkafka clients."""

from __future__ import annotations

import base64
import json
import logging
import sys
import time
from pathlib import Path

import pytest

from replicator.admin.client_config import DebugLog, client_config, token_callback
from replicator.errors import AuthenticationFailed
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Secret, Security

CANARY = "canary-7f3a"


def cluster(security: Security, bootstrap: tuple[tuple[str, int], ...] = (("a", 1), ("::1", 2))) -> ClusterSpec:
    """Return a cluster with that security."""
    return ClusterSpec("east", bootstrap, security=security, request_timeout_seconds=7.5)


def test_plain_text() -> None:
    """Addresses, the request time-out, and no topic made by asking."""
    config = client_config(cluster(Security()))
    assert config["bootstrap.servers"] == "a:1,[::1]:2"
    assert config["security.protocol"] == "PLAINTEXT"
    assert config["socket.timeout.ms"] == 7500
    assert config["allow.auto.create.topics"] is False
    assert not any(key.startswith(("sasl.", "ssl.")) for key in config)


def test_tls_files_and_host_name_check() -> None:
    """Paths go to librdkafka, which reads them at each client."""
    security = Security(Protocol.SSL, ca_file=Path("ca"), cert_file=Path("c"), key_file=Path("k"), check_hostname=False)
    config = client_config(cluster(security))
    assert config["ssl.ca.location"] == "ca"
    assert config["ssl.certificate.location"] == "c"
    assert config["ssl.key.location"] == "k"
    assert config["ssl.endpoint.identification.algorithm"] == "none"


def test_a_rotated_password_is_used_and_never_shown(tmp_path: Path) -> None:
    """The file is read at each new client; the mapping hides the secret."""
    file = tmp_path / "password"
    security = Security(Protocol.SASL_SSL, Mechanism.SCRAM_SHA_512, "repl", password_file=file)
    for password in (CANARY, "other"):
        file.write_text(password + "\n")
        config = client_config(cluster(security))
        assert config["sasl.password"] == password
        assert password not in f"{config} {config!r}"
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"


def test_an_inline_password() -> None:
    """It is revealed to librdkafka only."""
    security = Security(Protocol.SASL_PLAINTEXT, Mechanism.PLAIN, "u", password=Secret(CANARY))
    config = client_config(cluster(security))
    assert config["sasl.password"] == CANARY
    assert CANARY not in str(config)


def test_an_unreadable_password_file() -> None:
    """What, why, next."""
    security = Security(Protocol.SASL_SSL, Mechanism.PLAIN, "u", password_file=Path("/nowhere/secret"))
    with pytest.raises(AuthenticationFailed, match="/nowhere/secret") as raised:
        client_config(cluster(security))
    assert raised.value.why
    assert raised.value.next_step


def test_a_token_from_a_file_with_its_own_expiry(tmp_path: Path) -> None:
    """A JWT tells when it ends; it is read again at each call."""
    body = base64.urlsafe_b64encode(json.dumps({"exp": 4_000_000_000}).encode()).decode().rstrip("=")
    file = tmp_path / "token"
    file.write_text(f"head.{body}.sign\n")
    fetch = token_callback(cluster(Security(Protocol.SASL_SSL, Mechanism.OAUTHBEARER, token_file=file)))
    assert fetch("") == (f"head.{body}.sign", 4_000_000_000)
    file.write_text("opaque")
    token, expiry = fetch("")
    assert token == "opaque"  # noqa: S105 - a made-up token
    assert time.time() < expiry < time.time() + 3600


def test_a_token_from_a_command() -> None:
    """First line of its output; a failing command tells neither output nor token."""
    good = (sys.executable, "-c", "print('tok'); print('rest')")
    security = Security(Protocol.SASL_SSL, Mechanism.OAUTHBEARER, token_command=good)
    assert client_config(cluster(security))["oauth_cb"]("")[0] == "tok"
    bad = (sys.executable, "-c", f"print('{CANARY}'); raise SystemExit(3)")
    security = Security(Protocol.SASL_SSL, Mechanism.OAUTHBEARER, token_command=bad)
    with pytest.raises(AuthenticationFailed) as raised:
        client_config(cluster(security))
    assert CANARY not in f"{raised.value} {raised.value.next_step} {raised.value.__cause__}"


def test_no_token_at_all() -> None:
    """Said at once, not after librdkafka's ten seconds."""
    with pytest.raises(AuthenticationFailed, match="has no token"):
        client_config(cluster(Security(Protocol.SASL_SSL, Mechanism.OAUTHBEARER)))


def test_log_lines_are_debug(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever level librdkafka claims."""
    with caplog.at_level(logging.DEBUG, logger="replicator.librdkafka"):
        DebugLog().log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#1", "refused")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.DEBUG, "FAIL [rdkafka#1] refused")
    ]
