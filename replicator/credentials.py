"""Passwords and tokens, read again at each use, so that a rotated one needs no restart.

These functions block: a coroutine calls them in a thread. No message contains any part of a secret.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from replicator.errors import AuthenticationFailed
from replicator.files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

    from replicator.model.security import ClusterSpec

_TOKEN_COMMAND_SECONDS_MAX = 10.0
_SECRET_BYTES_MAX = 64 << 10


def read_password(cluster: ClusterSpec) -> str:
    """Return the current password, without the line end of its file.

    Raises:
        AuthenticationFailed: Its file cannot be read.
    """
    security = cluster.security
    if security.password_file is not None:
        return _read_secret(cluster, security.password_file).rstrip("\r\n")
    return security.password.reveal() if security.password is not None else ""


def read_token(cluster: ClusterSpec) -> str:
    """Return the current bearer token: a file's text, or the first line that its command prints.

    The command is run without a shell.

    Raises:
        AuthenticationFailed: There is none.
    """
    security = cluster.security
    if security.token_file is not None:
        return _read_secret(cluster, security.token_file).strip()
    if not security.token_command:
        raise AuthenticationFailed(
            f"cluster {cluster.alias!r} uses OAUTHBEARER but has no token",
            cluster=cluster.alias,
            next_step=f"set clusters.{cluster.alias}.security.token_file or token_command",
        )
    program = security.token_command[0]
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, no shell
            security.token_command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
            timeout=_TOKEN_COMMAND_SECONDS_MAX,
        )
        token = done.stdout.partition("\n")[0].strip()
        why = "it printed an empty first line"
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        token, why = "", type(error).__name__
    if token:
        return token
    # Nothing of the original error is kept: it carries the command's output.
    raise AuthenticationFailed(
        f"the token command of cluster {cluster.alias!r} returned no token",
        cluster=cluster.alias,
        why=f"{program}: {why}",
        next_step=f"run {program} by hand as this user",
    )


def _read_secret(cluster: ClusterSpec, path: Path) -> str:
    try:
        return read_regular(path, _SECRET_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise AuthenticationFailed(
            f"cannot read the secret file {path} of cluster {cluster.alias!r}",
            cluster=cluster.alias,
            why=getattr(error, "strerror", None) or type(error).__name__,
            next_step=f"make {path} readable for this user, or fix clusters.{cluster.alias}.security",
        ) from None  # the original may quote bytes of the secret
