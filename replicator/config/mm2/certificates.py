"""TLS of a cluster: PEM files are used as they are, Java's key stores have to be converted first."""

from __future__ import annotations

import shlex

from replicator.config.mm2.context import ImportContext
from replicator.config.mm2.layers import provided
from replicator.config.mm2.properties import Entry
from replicator.config.mm2.report import Fate
from replicator.config.mm2.yaml_text import Lines, comment, literal, said

_PEM_ONLY = "PEM files are read without a password; instead: keep the key file at mode 0600"
_INLINE = "PEM text inside the properties file; instead: put it into a file"


def tls(context: ImportContext, alias: str) -> Lines:
    """Return the keys of `security` about certificates."""
    lines = [*_trust(context, alias), *_own(context, alias)]
    check = context.layers.of_cluster(alias, "ssl.endpoint.identification.algorithm")
    if check is not None:
        context.report.add(check, Fate.CONVERTED, f"clusters.{alias}.security.check_hostname")
        lines += [said(check, ""), f"check_hostname: {'true' if check.value else 'false'}"]
    for name in ("ssl.truststore.password", "ssl.keystore.password", "ssl.key.password"):
        entry = context.layers.of_cluster(alias, name)
        if entry is not None:
            context.report.add(entry, Fate.NONE, _PEM_ONLY)
    return lines


def _trust(context: ImportContext, alias: str) -> Lines:
    location, kind = _store(context, alias, "truststore")
    inline = context.layers.of_cluster(alias, "ssl.truststore.certificates")
    file = f"{alias}-ca.pem"
    if inline is not None:
        context.report.add(inline, Fate.BY_HAND, f"{_INLINE}, and uncomment ca_file")
        return [comment(f"line {inline.line}: {inline.key}: {_INLINE}"), f"# ca_file: {file}"]
    if location is None:
        return []
    if kind == "PEM":
        context.report.add(location, Fate.CONVERTED, f"clusters.{alias}.security.ca_file")
        return [said(location, ""), f"ca_file: {literal(location.value)}"]
    store = shlex.quote(location.value)
    command = f"keytool -list -rfc -storetype {kind} -keystore {store} > {file}"
    context.report.add(location, Fate.BY_HAND, f"a {kind} store cannot be read; run: {command}; then uncomment ca_file")
    return [said(location, f"convert it: {command}"), f"# ca_file: {file}"]


def _own(context: ImportContext, alias: str) -> Lines:
    location, kind = _store(context, alias, "keystore")
    cert, key = f"{alias}-cert.pem", f"{alias}-key.pem"
    inline = [context.layers.of_cluster(alias, f"ssl.keystore.{name}") for name in ("certificate.chain", "key")]
    found = [entry for entry in inline if entry is not None]
    if found:
        for entry in found:
            context.report.add(entry, Fate.BY_HAND, f"{_INLINE}, and uncomment cert_file and key_file")
        return [comment(f"line {found[0].line}: {found[0].key}: {_INLINE}"), *_commented(cert, key)]
    if location is None:
        return []
    if kind == "PEM" and context.layers.of_cluster(alias, "ssl.key.password") is None:
        context.report.add(location, Fate.CONVERTED, f"clusters.{alias}.security.cert_file and key_file")
        file = literal(location.value)
        return [
            said(location, "certificate and key in one file, mode 0600"),
            f"cert_file: {file}",
            f"key_file: {file}",
        ]
    commands = _commands(location, kind, alias, cert, key)
    context.report.add(
        location, Fate.BY_HAND, f"not readable as it is; run: {'; '.join(commands)}; then uncomment cert_file, key_file"
    )
    return [said(location, "convert it:"), *(comment(f"  {one}") for one in commands), *_commented(cert, key)]


def _store(context: ImportContext, alias: str, store: str) -> tuple[Entry | None, str]:
    """Return where a store is, and its type as Java names it (JKS by default)."""
    location = context.layers.of_cluster(alias, f"ssl.{store}.location")
    kind = context.layers.of_cluster(alias, f"ssl.{store}.type")
    if kind is not None:
        context.report.add(kind, Fate.CONVERTED, "files are PEM here; other stores are converted first")
    if location is not None and provided(location.value):
        context.report.add(location, Fate.BY_HAND, "its path comes from a config provider; instead: write the path")
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
