"""The daemon's name, and the lock that keeps others out of its state directory."""

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
    """Return a name that no other daemon has, nor any earlier start of this one."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def prepare_state_dir(path: Path) -> None:
    """Create the state directory, for this user only, and forbid core dumps (they would contain secrets).

    Raises:
        StoreError: It cannot be created, or others can write to it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    make_private(path)


class StateDirLock:
    """Holds a state directory for one daemon until the process ends, in whatever way.

    Args:
        directory: The state directory.
        instance: This daemon.

    Attributes:
        predecessor: The daemon that held it before. It has certainly ended, so nobody has to wait for its leases to
            expire. None if there was none, or the file was lost.

    Raises:
        ReplicatorError: Another daemon holds it, or the file cannot be written, or others can write to it.
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
            # A full disk. Without the name our successor waits for one TTL; the name only saves that wait.
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Release the lock; safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
