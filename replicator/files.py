"""Local files: an operator's are read within bounds and without blocking, ours belong to this user alone."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from replicator.errors import StoreError
from replicator.model.text import command

PEM_BYTES_MAX = 4 << 20
"""The certificates of every public CA take 0.3 MB."""


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return up to `max_bytes` of a regular file; symbolic links are followed.

    Raises:
        OSError: It cannot be read, or is not a regular file; `strerror` says so.
    """
    with open_regular(path) as file:
        return file.read(max_bytes)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; symbolic links are followed.

    A FIFO would wait for a writer forever, and a device may have no end.

    Raises:
        OSError: It cannot be opened, or is not a regular file; `strerror` says so.
    """
    # Without O_NONBLOCK, opening a FIFO already blocks, before we can know that it is one.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


_OTHERS_WRITE = 0o022
_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700


def make_private(directory: Path) -> None:
    """Create a directory for this user alone, or check an existing one: nobody else may write to it.

    Raises:
        StoreError: It cannot be created, is not a directory, or others can write to it.
    """
    try:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise StoreError(
            f"the state directory {directory} cannot be created",
            why=error.strerror or type(error).__name__,
            next_step="set daemon.state_dir",
        ) from error
    _check(directory, found, f"the state directory {directory}", stat.S_IFDIR)


def open_private(path: Path, flags: int) -> int:
    """Open one of our files, created for this user alone if missing; return its descriptor.

    A link is not followed: whoever made it could have us write to what it points to.

    Raises:
        StoreError: It is a link, not a regular file, or someone else's, or others can write to it. Nothing was changed.
        OSError: It cannot be opened for another reason.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO blocks, before we can know that it is one.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, _FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _link(path) from error
        raise
    try:
        found = os.fstat(descriptor)
        _check(path, found, str(path), stat.S_IFREG)
    except StoreError:
        os.close(descriptor)
        raise
    return descriptor


def check_private(path: Path) -> bool:
    """Check one of our files without opening it; return whether it exists.

    Closing any descriptor of a file releases all locks that this process has on it (POSIX), including those of an open
    SQLite connection: another process then takes itself for the first, truncates the shared memory, and this process
    dies of SIGBUS (sqlite.org/howtocorrupt.html, 2.2).

    Raises:
        StoreError: It is a link, not a regular file, or someone else's, or others can write to it.
        OSError: It cannot be examined.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(found.st_mode):
        raise _link(path)
    _check(path, found, str(path), stat.S_IFREG)
    return True


def _link(path: Path) -> StoreError:
    return StoreError(
        f"{path} is a symbolic link, which is not followed",
        why="whoever made it could have the daemon write to what it points to",
        next_step=f"find out who made it, then remove the link: {command('rm', str(path))}",
    )


def _check(path: Path, found: os.stat_result, what: str, kind: int) -> None:
    """Return if it is of this kind, and nobody but this user or root can write to it.

    Raises:
        StoreError: It is not; the error says what helps.
    """
    if stat.S_IFMT(found.st_mode) != kind:
        wanted = "directory" if kind == stat.S_IFDIR else "regular file"
        raise StoreError(f"{what} is not a {wanted}", next_step=f"see what it is: {command('ls', '-ld', str(path))}")
    me = os.geteuid()
    if found.st_uid not in {me, 0}:
        raise StoreError(
            f"{what} belongs to another user",
            why=f"user {found.st_uid} can change it, and this daemon runs as user {me}",
            next_step=f"{command('chown', str(me), str(path))}, or set daemon.state_dir to a directory of this user",
        )
    if found.st_mode & _OTHERS_WRITE:
        raise StoreError(
            f"others can write to {what}",
            why=f"its mode is {stat.S_IMODE(found.st_mode):04o}",
            next_step=command("chmod", "go-w", str(path)),
        )
