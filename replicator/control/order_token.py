"""The token that orders carry without TLS: whoever can read the state directory may give orders.

Every user of a machine can reach its loopback. The token is in a file that only the daemon's user can read.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import stat
from pathlib import Path

FILE_NAME = "rpc.token"
METADATA_KEY = "replicator-token"
"""Metadata key that carries it."""
_TOKEN_BYTES = 32
FORM = re.compile(rb"[0-9a-f]{64}\n")
FILE_BYTES_MAX = 128

_log = logging.getLogger(__name__)


class OrderToken:
    """The token of one state directory: the existing one, else a new one.

    Attributes:
        path: Its file.
        problem: Why there is none, in which case no order is taken; empty if there is one.

    Args:
        directory: The state directory.
    """

    def __init__(self, directory: Path) -> None:
        self.path = (directory / FILE_NAME).absolute()
        self.problem = ""
        self._token = b""
        self.renew()

    def renew(self) -> None:
        """Read the file, or write a new one if it is gone or others may know its content."""
        try:
            self._token = self._read() or self._written()
        except OSError as error:
            self.problem = f"{self.path} cannot be written: {error.strerror or error}"
            _log.error("no order can be given until it can be written: %s", self.problem)
        else:
            self.problem = ""

    def equals(self, shown: str | bytes) -> bool:
        """Return whether this is the token; takes equally long for a wrong and a right one."""
        given = shown.encode(errors="replace") if isinstance(shown, str) else shown
        return bool(self._token) and hmac.compare_digest(given, self._token)

    def _read(self) -> bytes | None:
        """Return the file's content; None if there is no file, or it is not exclusively ours."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError:  # a symbolic link, or someone else's file
            _unsound(self.path, "cannot be opened")
            return None
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                _unsound(self.path, "is not a regular file")
                return None
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                _unsound(self.path, "belongs to another user, or others can read it")
                return None
            text = os.read(file, FILE_BYTES_MAX)
        finally:
            os.close(file)
        if FORM.fullmatch(text):
            return text[:-1]
        _unsound(self.path, "holds no token")
        return None

    def _written(self) -> bytes:
        token = secrets.token_hex(_TOKEN_BYTES).encode()
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(file, 0o600)  # whatever the umask
            os.write(file, token + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        fresh.replace(self.path)
        return token


def _unsound(path: Path, why: str) -> None:
    _log.warning("making a new token for orders: %s %s", path, why)
