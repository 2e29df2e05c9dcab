"""Who this daemon is, and that nobody else has its state directory."""

from __future__ import annotations

import fcntl
import os
import resource
import secrets
import socket
from typing import TYPE_CHECKING

from replicator.errors import ReplicatorError
from replicator.files import make_private, open_private

if TYPE_CHECKING:
    from pathlib import Path

_FILE = "daemon.lock"
_NAME_BYTES_MAX = 512


def new_instance() -> str:
    """Return a name that no other daemon has, and no earlier start of this one had."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def prepare_state_dir(path: Path) -> None:
    """Make the state directory, for this user only, and forbid core dumps (they would hold secrets).

    Raises:
        StoreError: It cannot be made, or others can write to it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    make_private(path)


class StateDirLock:
    """Holds a state directory for one daemon, until the process ends however it does.

    Args:
        directory: The state directory.
        instance: This daemon.

    Attributes:
        predecessor: The daemon that held it before: it has surely ended, so nobody has to wait for its leases to end.
            None where there was none, or the file was lost.

    Raises:
        ReplicatorError: Another daemon has it, or the file cannot be written, or is not this user's alone.
    """

    def __init__(self, directory: Path, instance: str) -> None:
        path = directory / _FILE
        try:
            self._file = open_private(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ReplicatorError(f"{path} cannot be opened", why=error.strerror or "") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise ReplicatorError(
                f"another daemon uses the state directory {directory}",
                why=f"it holds {path}",
                next_step="stop that daemon, or give this one a daemon.state_dir of its own",
            ) from error
        self.predecessor = os.pread(self._file, _NAME_BYTES_MAX, 0).decode(errors="replace").strip() or None
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, instance.encode(), 0)
        except OSError:
            # A full disk. Without a name our successor waits out a TTL, which is all it is for.
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Close it; safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
