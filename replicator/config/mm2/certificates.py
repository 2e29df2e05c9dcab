"""TLS of a cluster: PEM files are taken over, Java's key stores have to be converted first."""

from __future__ import annotations

import shlex

from replicator.config.mm2.ground import Ground
from replicator.config.mm2.layers import provided
from replicator.config.mm2.properties import Entry
from replicator.config.mm2.report import Fate
from replicator.config.mm2.yaml_text import Lines, comment, literal, said

_PEM_ONLY = "PEM files are read without a password; instead: keep the key file at mode 0600"
_INLINE = "PEM inside of the properties file; instead: put it into a file"


def tls(ground: Ground, alias: str) -> Lines:
    """Return the keys of `security` about certificates."""
    lines = [*_trust(ground, alias), *_own(ground, alias)]
    check = ground.layers.of_cluster(alias, "ssl.endpoint.identification.algorithm")
    if check is not None:
        ground.report.add(check, Fate.CONVERTED, f"clusters.{alias}.security.check_hostname")
        lines += [said(check, ""), f"check_hostname: {'true' if check.value else 'false'}"]
    for name in ("ssl.truststore.password", "ssl.keystore.password", "ssl.key.password"):
        entry = ground.layers.of_cluster(alias, name)
        if entry is not None:
            ground.report.add(entry, Fate.NONE, _PEM_ONLY)
    return lines


def _trust(ground: Ground, alias: str) -> Lines:
    location, kind = _store(ground, alias, "truststore")
    inline = ground.layers.of_cluster(alias, "ssl.truststore.certificates")
    file = f"{alias}-ca.pem"
    if inline is not None:
        ground.report.add(inline, Fate.BY_HAND, f"{_INLINE}, and uncomment ca_file")
        return [comment(f"line {inline.line}: {inline.key}: {_INLINE}"), f"# ca_file: {file}"]
    if location is None:
        return []
    if kind == "PEM":
        ground.report.add(location, Fate.CONVERTED, f"clusters.{alias}.security.ca_file")
        return [said(location, ""), f"ca_file: {literal(location.value)}"]
    store = shlex.quote(location.value)
    command = f"keytool -list -rfc -storetype {kind} -keystore {store} > {file}"
    ground.report.add(location, Fate.BY_HAND, f"a {kind} store is not read; do: {command}; then uncomment ca_file")
    return [said(location, f"convert it: {command}"), f"# ca_file: {file}"]


def _own(ground: Ground, alias: str) -> Lines:
    location, kind = _store(ground, alias, "keystore")
    cert, key = f"{alias}-cert.pem", f"{alias}-key.pem"
    inline = [ground.layers.of_cluster(alias, f"ssl.keystore.{name}") for name in ("certificate.chain", "key")]
    found = [entry for entry in inline if entry is not None]
    if found:
        for entry in found:
            ground.report.add(entry, Fate.BY_HAND, f"{_INLINE}, and uncomment cert_file and key_file")
        return [comment(f"line {found[0].line}: {found[0].key}: {_INLINE}"), *_commented(cert, key)]
    if location is None:
        return []
    if kind == "PEM" and ground.layers.of_cluster(alias, "ssl.key.password") is None:
        ground.report.add(location, Fate.CONVERTED, f"clusters.{alias}.security.cert_file and key_file")
        file = literal(location.value)
        return [
            said(location, "certificate and key in one file, mode 0600"),
            f"cert_file: {file}",
            f"key_file: {file}",
        ]
    commands = _commands(location, kind, alias, cert, key)
    ground.report.add(
        location, Fate.BY_HAND, f"not read as it is; do: {'; '.join(commands)}; then uncomment cert_file, key_file"
    )
    return [said(location, "convert it:"), *(comment(f"  {one}") for one in commands), *_commented(cert, key)]


def _store(ground: Ground, alias: str, store: str) -> tuple[Entry | None, str]:
    """Return where a store is, and its type as Java names it (JKS unless said)."""
    location = ground.layers.of_cluster(alias, f"ssl.{store}.location")
    kind = ground.layers.of_cluster(alias, f"ssl.{store}.type")
    if kind is not None:
        ground.report.add(kind, Fate.CONVERTED, "files are PEM here; other stores are converted first")
    if location is not None and provided(location.value):
        ground.report.add(location, Fate.BY_HAND, "its path comes from a config provider; instead: write the path")
        return None, ""
    return location, "JKS" if kind is None else kind.value.upper()


def _commented(cert: str, key: str) -> Lines:
    return [f"# cert_file: {cert}", f"# key_file: {key}"]


def _commands(location: Entry, kind: str, alias: str, cert: str, key: str) -> list[str]:
    store = shlex.quote(location.value)
    if kind == "PEM":  # with a password on the key
        return [f"openssl pkey -in {store} -out {key}", f"openssl x509 -in {store} -out {cert}"]
    steps = []
    if kind != "PKCS12":
        steps = [f"keytool -importkeystore -srckeystore {store} -destkeystore {alias}.p12 -deststoretype PKCS12"]
        store = f"{alias}.p12"
    return [
        *steps,
        f"openssl pkcs12 -in {store} -nokeys -out {cert}",
        f"openssl pkcs12 -in {store} -nocerts -nodes -out {key}",
        f"chmod 600 {key}",
    ]
