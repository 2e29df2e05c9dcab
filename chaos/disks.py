"""Small disks that can be made full and roomy again: size-limited tmpfs, in a mount namespace of our own.

The namespace ends with the last process of the run, and the mounts with it: none is left behind, not even by SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from chaos.errors import ChaosError

ROOMY_MEGABYTES = 4096
"""An upper bound: tmpfs takes only what is used."""

_CLONE_NEWNS = 0x00020000
_MOUNT_SECONDS_MAX = 10
_PAGE_BYTES = 4096
_FILL_ATTEMPTS = 5


def enter_private_mounts() -> str:
    """Make mounts from here on visible to this process and its children only; try one.

    Call it before other threads exist: a namespace belongs to a thread and what that starts.

    Returns:
        Why small disks cannot be had here; empty where they can.
    """
    if os.geteuid() != 0:
        return "small disks take root, which this is not"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        return f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}"
    try:
        _run("mount", "--make-rprivate", "/")
        with tempfile.TemporaryDirectory(prefix="chaos-disk-") as directory:
            disk = SmallDisk(Path(directory) / "disk")
            disk.mount()
            disk.unmount()
    except ChaosError as error:
        return str(error)
    return ""


class SmallDisk:
    """One directory on a disk of its own.

    Attributes:
        path: The directory; it is made if need be, and what is in it moves onto the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self) -> None:
        """Put the disk in place, with room.

        Raises:
            ChaosError: It could not be mounted.
        """
        before = self.path.with_name(self.path.name + ".before")
        if self.path.exists():
            self.path.rename(before)
        self.path.mkdir(mode=0o700)
        options = f"size={ROOMY_MEGABYTES}m,mode=0700"
        _run("mount", "-t", "tmpfs", "-o", options, "replicator-chaos", str(self.path))
        if before.exists():
            shutil.copytree(before, self.path, dirs_exist_ok=True)
            shutil.rmtree(before)

    def fill(self, spare_bytes: int) -> None:
        """Leave so many bytes of room.

        Raises:
            ChaosError: The kernel refused.
        """
        for attempt in range(_FILL_ATTEMPTS):
            usage = os.statvfs(self.path)
            used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
            try:
                # Size 0 would mean no limit at all.
                _run("mount", "-o", f"remount,size={max(_PAGE_BYTES, used + spare_bytes)}", str(self.path))
            except ChaosError:  # more was written since the look
                if attempt == _FILL_ATTEMPTS - 1:
                    raise
            else:
                return

    def clear(self) -> None:
        """Give it room again.

        Raises:
            ChaosError: The kernel refused.
        """
        _run("mount", "-o", f"remount,size={ROOMY_MEGABYTES}m", str(self.path))

    def unmount(self) -> None:
        """Take the disk away, with what is on it; nobody uses it any more.

        Raises:
            ChaosError: The kernel refused.
        """
        _run("umount", str(self.path))


def empty(directory: Path) -> None:
    """Remove what is in a directory, and leave the directory: it may be a mount."""
    for entry in list(directory.iterdir()) if directory.is_dir() else []:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _run(tool: str, *arguments: str) -> None:
    found = shutil.which(tool)
    if found is None:
        raise ChaosError(f"`{tool}` is not on PATH", next_step="apt-get install mount")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False, timeout=_MOUNT_SECONDS_MAX)
    if done.returncode != 0:
        raise ChaosError(f"{tool} {' '.join(arguments)} failed", why=done.stderr.strip())
