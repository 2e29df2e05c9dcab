"""Rules about credentials, trust and the files that hold them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from replicator.config.lint.rule import Rule
from replicator.config.shape import SecurityShape
from replicator.config.yaml.mistakes import KeyPath
from replicator.core.acl.granting import split
from replicator.model.security import Mechanism, Protocol
from replicator.model.units import is_loopback

SECRET_FILES = ("password_file", "token_file", "key_file")
PUBLIC_FILES = ("ca_file", "cert_file")
_SASL_KEYS = ("mechanism", "username", "password", "password_file", "token_file", "token_command")
_TLS_KEYS = ("ca_file", "cert_file", "key_file")


def daemon_security(rule: Rule) -> None:
    """Note an unprotected address, and unusable certificates."""
    daemon = rule.checked.shape.daemon
    tls = daemon.tls
    if tls is None and not is_loopback(daemon.rpc[0]):
        rule.note(
            ("daemon", "rpc"),
            "is not loopback, so it needs daemon.tls; allowed: 127.0.0.1:PORT, or set tls (cert_file, key_file)",
            about=[("daemon", "tls")],
        )
    if not is_loopback(daemon.http[0]) and not daemon.http_public and (tls is None or tls.ca_file is None):
        rule.note(
            ("daemon", "http"),
            "is not loopback, so callers need a certificate; needed: daemon.tls with ca_file, and daemon.access;"
            " or http_public: true, which shows /metrics, /healthz and /readyz to everybody",
            about=[("daemon", "tls"), ("daemon", "http_public")],
        )
    for number, entry in enumerate(daemon.access):
        kind, _ = split(entry.identity)
        if kind is None and "://" in entry.identity:
            rule.note(
                ("daemon", "access", number, "identity"),
                f"can match nothing without its kind; allowed: 'uri:{entry.identity}'",
            )
    if daemon.access and (tls is None or tls.ca_file is None):
        rule.note(
            ("daemon", "access"), "has no effect without daemon.tls.ca_file: no caller is asked for a certificate"
        )
    if tls is not None:
        path: KeyPath = ("daemon", "tls")
        _files(rule, path, {"cert_file": tls.cert_file, "key_file": tls.key_file, "ca_file": tls.ca_file})


def cluster_security(rule: Rule, alias: str) -> None:
    """Note what is missing, useless or unsafe in one cluster's `security`."""
    path: KeyPath = ("clusters", alias, "security")
    security = rule.checked.shape.clusters[alias].security
    _useless(rule, path, security)
    if security.protocol.sasl:
        _sasl(rule, path, security)
    if security.protocol is Protocol.SASL_PLAINTEXT:
        _unprotected(rule, path, alias, security)
    for present, missing in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(security, present) is not None and getattr(security, missing) is None:
            rule.note((*path, missing), f"is missing; {present} needs it", about=[(*path, present)])
    _files(rule, path, {name: getattr(security, name) for name in (*SECRET_FILES, *PUBLIC_FILES)})
    _inline_password(rule, path)


def _useless(rule: Rule, path: KeyPath, security: SecurityShape) -> None:
    """Note keys without effect: their author relies on a protection that is not there."""
    protocol = security.protocol
    tls = "SSL or SASL_SSL"
    sasl = "SASL_SSL" if not protocol.tls else "SASL_SSL, or remove it"
    for keys, works, needed in ((_SASL_KEYS, protocol.sasl, sasl), (_TLS_KEYS, protocol.tls, tls)):
        for key in keys:
            if not works and getattr(security, key) is not None:
                rule.note(
                    (*path, key),
                    f"has no effect with protocol {protocol}; needed: protocol {needed}",
                    about=[(*path, "protocol")],
                )


def _sasl(rule: Rule, path: KeyPath, security: SecurityShape) -> None:
    if security.mechanism is None:
        allowed = ", ".join(Mechanism)
        rule.note((*path, "mechanism"), f"is missing; {security.protocol} needs one of: {allowed}")
        return
    about = [(*path, "mechanism")]
    token = security.mechanism is Mechanism.OAUTHBEARER
    one, other = ("token_file", "token_command") if token else ("password_file", "password")
    given = [key for key in (one, other) if getattr(security, key) is not None]
    if not token and security.username is None:
        rule.note((*path, "username"), f"is missing; {security.mechanism} needs it", about=about)
    if not given and not rule.checked.judged((*path, other)):
        rule.note((*path, one), f"is missing; {security.mechanism} needs {one} or {other}", about=about)
    if len(given) > 1:
        rule.note((*path, other), f"excludes {one}; allowed: one of them")
    for key in ("password", "password_file", "username") if token else ("token_file", "token_command"):
        if getattr(security, key) is not None:
            rule.note((*path, key), f"has no effect with mechanism {security.mechanism}", about=about)


def _unprotected(rule: Rule, path: KeyPath, alias: str, security: SecurityShape) -> None:
    remote = [host for host, _ in rule.checked.shape.clusters[alias].bootstrap if not is_loopback(host)]
    if remote and not security.allow_plaintext_password:
        rule.note(
            (*path, "protocol"),
            f"SASL_PLAINTEXT would show the credentials to anyone between here and {remote[0]};"
            " allowed: SASL_SSL, or allow_plaintext_password: true",
            about=[(*path, "allow_plaintext_password"), ("clusters", alias, "bootstrap")],
        )


def _inline_password(rule: Rule, path: KeyPath) -> None:
    where = (*path, "password")
    node = rule.node(where)
    if node.path != where or node.substituted:
        return
    file = Path(node.mark.file)
    if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        rule.note(
            where,
            f"a password in a file that others can read; run: chmod 600 {file}, or use password_file or ${{VAR}}",
        )


def _files(rule: Rule, path: KeyPath, files: dict[str, Path | None]) -> None:
    for key, file in files.items():
        problem = None if file is None else file_problem(file, secret=key in SECRET_FILES)
        if problem is not None:
            rule.note((*path, key), problem)


def file_problem(file: Path, *, secret: bool) -> str | None:
    """Return what is wrong with a file that each new connection reads, or None."""
    problem = None
    try:
        status = file.stat()
    except FileNotFoundError:
        return f"{file} does not exist"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        problem = "is not a file"
    elif not os.access(file, os.R_OK):
        problem = f"cannot be read by user id {os.geteuid()}"
    elif secret and mode & 0o077:
        problem = f"can be read by others (mode {mode:04o}); run: chmod 600 {file} (Kubernetes: defaultMode 0400)"
    elif secret and status.st_uid not in {0, os.geteuid()}:
        problem = f"belongs to user id {status.st_uid}; allowed: root or user id {os.geteuid()}"
    return problem and f"{file} {problem}"
