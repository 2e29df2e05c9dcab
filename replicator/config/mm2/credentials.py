"""SASL of a cluster: the mechanism and the user are written to the file, a secret never is."""

from __future__ import annotations

import re

from replicator.config.mm2.context import ImportContext
from replicator.config.mm2.layers import provided
from replicator.config.mm2.properties import Entry
from replicator.config.mm2.report import Fate
from replicator.config.mm2.yaml_text import Lines, comment, literal, said
from replicator.model.security import Mechanism

_JAAS_OPTION = re.compile(r"""(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s;"']+)""", re.DOTALL)
_WITH_PASSWORD = (Mechanism.PLAIN, Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_512)
_PRINTS = "a command that prints an OAUTHBEARER token"


def jaas_options(value: str) -> dict[str, str]:
    """Return the options of the first login module in a `sasl.jaas.config`."""
    options: dict[str, str] = {}
    for name, text in _JAAS_OPTION.findall(value):
        bare = re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] in "\"'" else text
        options.setdefault(name, bare)
    return options


def sasl(context: ImportContext, alias: str, *, encrypted: bool) -> Lines:
    """Return the keys of `security` below its protocol."""
    lines: Lines = []
    if not encrypted:
        lines.append(comment("SASL_PLAINTEXT: anyone on the way can read the credentials; SASL_SSL is better"))
        lines.append("allow_plaintext_password: true")
    entry = context.layers.of_cluster(alias, "sasl.mechanism")
    mechanism = "GSSAPI" if entry is None else entry.value
    jaas = context.layers.of_cluster(alias, "sasl.jaas.config")
    if mechanism in _WITH_PASSWORD:
        if entry is not None:
            context.report.add(entry, Fate.CONVERTED, f"clusters.{alias}.security.mechanism")
        return [*lines, said(entry, ""), f"mechanism: {mechanism}", *_user(context, alias, jaas)]
    if mechanism in {Mechanism.OAUTHBEARER, "AWS_MSK_IAM"}:
        return [*lines, *_token(context, alias, entry, jaas)]
    return [*lines, *_unknown(context, alias, mechanism, entry, jaas)]


def _user(context: ImportContext, alias: str, jaas: Entry | None) -> Lines:
    if jaas is None:
        where = "MirrorMaker 2 found user and password outside this file (java.security.auth.login.config)"
        return [comment(where), *_both(context, alias)]
    options = jaas_options(jaas.value)
    secret = context.layers.variable(options.get("password", "")) or f"{context.stems[alias]}_PASSWORD"
    context.report.add(jaas, Fate.BY_HAND, f"the secret stays out of the file: set {secret}, or use password_file")
    user = options.get("username", "")
    remark = comment(f"line {jaas.line}: {jaas.key} = ...: the secret stays out of this file")
    if not user or provided(user):
        name = context.layers.variable(user)
        written = context.variable(alias, "USERNAME", f"user name for {alias}", name=name)
    else:
        written = literal(user)
    return [remark, f"username: {written}", *_password(context, alias, options.get("password", ""))]


def _password(context: ImportContext, alias: str, given: str) -> Lines:
    name = context.layers.variable(given)
    return [
        "password: " + context.variable(alias, "PASSWORD", f"password for {alias}", name=name),
        comment("or, so that it can be rotated without a restart: password_file: a file of mode 0600"),
    ]


def _both(context: ImportContext, alias: str) -> Lines:
    user = context.variable(alias, "USERNAME", f"user name for {alias}")
    return [f"username: {user}", *_password(context, alias, "")]


def _token(context: ImportContext, alias: str, entry: Entry | None, jaas: Entry | None) -> Lines:
    variable = f"{context.stems[alias]}_TOKEN_COMMAND"
    lines = [said(entry, "a token is read from a command or a file; there is no login callback")]
    if entry is not None and entry.value != Mechanism.OAUTHBEARER:
        lines.append(comment("Amazon MSK accepts OAUTHBEARER as well; its IAM signer prints the token"))
    for one in (entry, jaas):
        if one is not None:
            context.report.add(one, Fate.BY_HAND, f"set {variable} to {_PRINTS}, or write token_file")
    command = context.variable(alias, "TOKEN_COMMAND", _PRINTS)
    return [*lines, f"mechanism: {Mechanism.OAUTHBEARER}", f"token_command: {command}"]


def _unknown(context: ImportContext, alias: str, mechanism: str, entry: Entry | None, jaas: Entry | None) -> Lines:
    allowed = ", ".join(Mechanism)
    why = f"{mechanism} is not supported; instead: a user with one of {allowed} on this cluster"
    for one in (entry, jaas):
        if one is not None:
            context.report.add(one, Fate.BY_HAND, why)
    instead = Mechanism.SCRAM_SHA_512
    return [said(entry, why), f"mechanism: {instead}", *_both(context, alias)]
