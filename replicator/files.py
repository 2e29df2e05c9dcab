"""Local files: an operator's are read in bounds and without waiting, those of ours are this user's alone."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from replicator.errors import StoreError
from replicator.model.text import command

PEM_BYTES_MAX = 4 << 20
"""Certificates of every authority of the Web take 0.3 MB."""


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return up to `max_bytes` of a regular file, or of what a link to one leads to.

    Raises:
        OSError: It cannot be read, or is no regular file; `strerror` says so.
    """
    with open_regular(path) as file:
        return file.read(max_bytes)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, or what a link to one leads to, for reading.

    A FIFO would wait for a writer for ever, a device may have no end.

    Raises:
        OSError: It cannot be opened, or is no regular file; `strerror` says so.
    """
    # Without O_NONBLOCK already opening a FIFO waits, before anything can be known of it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


_OTHERS_WRITE = 0o022
_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700


def make_private(directory: Path) -> None:
    """Make a directory for this user alone, or look at one that is there: nobody else may put anything into it.

    Raises:
        StoreError: It cannot be made, is no directory, or others can write to it.
    """
    try:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise StoreError(
            f"the state directory {directory} cannot be made",
            why=error.strerror or type(error).__name__,
            next_step="set daemon.state_dir",
        ) from error
    _check(directory, found, f"the state directory {directory}", stat.S_IFDIR)


def open_private(path: Path, flags: int) -> int:
    """Open a file of ours, made for this user alone where it is missing; return its descriptor.

    A link is not followed: whoever put it there would have us write to what it leads to.

    Raises:
        StoreError: It is a link, no regular file, or somebody else's, or others can write to it: nothing was changed.
        OSError: It cannot be opened for another reason.
    """
    try:
        # Without O_NONBLOCK opening a FIFO waits, before anything can be known of it.
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
    """Look at a file of ours without opening it; return whether it is there.

    To close any descriptor of a file lets go of all locks that this process has on it (POSIX), those of an open SQLite
    connection among them: another one then takes itself for the first, cuts the shared memory short, and this process
    dies of SIGBUS (sqlite.org/howtocorrupt.html, 2.2).

    Raises:
        StoreError: It is a link, no regular file, or somebody else's, or others can write to it.
        OSError: It cannot be looked at.
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
        f"{path} is a symbolic link, and is not followed",
        why="whoever made it would have the daemon write to what it leads to",
        next_step=f"find out who made it, then remove the link: {command('rm', str(path))}",
    )


def _check(path: Path, found: os.stat_result, what: str, kind: int) -> None:
    """Return if it is of this kind, and nobody but this user, or root, can write there.

    Raises:
        StoreError: It is not; it says what helps.
    """
    if stat.S_IFMT(found.st_mode) != kind:
        wanted = "directory" if kind == stat.S_IFDIR else "regular file"
        raise StoreError(f"{what} is no {wanted}", next_step=f"look what it is: {command('ls', '-ld', str(path))}")
    me = os.geteuid()
    if found.st_uid not in {me, 0}:
        raise StoreError(
            f"{what} belongs to another user",
            why=f"user {found.st_uid} can change what stands there, and this daemon runs as user {me}",
            next_step=f"{command('chown', str(me), str(path))}, or set daemon.state_dir to a directory of this user",
        )
    if found.st_mode & _OTHERS_WRITE:
        raise StoreError(
            f"{what} can be written to by others",
            why=f"its mode is {stat.S_IMODE(found.st_mode):04o}",
            next_step=command("chmod", "go-w", str(path)),
        )
