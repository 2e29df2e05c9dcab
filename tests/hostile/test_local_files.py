"""Local files of ours: nobody else may have put them there, or may change them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replicator.daemon.instance import StateDirLock
from replicator.errors import StoreError
from replicator.files import make_private, open_private
from replicator.obs.audit import AuditLog
from tests.unit.obs.test_audit import entry

FLAGS = os.O_RDWR | os.O_CREAT


def test_a_lock_that_is_a_link_empties_nobodys_file(tmp_path: Path) -> None:
    """It was followed, truncated, and a name was written into it."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "daemon.lock").symlink_to(victim)
    with pytest.raises(StoreError, match=r"daemon\.lock is a symbolic link"):
        StateDirLock(tmp_path, "me")

    assert victim.read_text() == "precious"


def test_an_audit_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    """Nor is one begun that way: the name of the first file is known to everybody."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "audit-000000000001.jsonl").symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link"):
        AuditLog(tmp_path).append(entry())

    assert victim.read_text() == "precious"


def test_a_file_or_directory_that_others_can_write_to_is_refused_with_the_command(tmp_path: Path) -> None:
    """What stands there could be anybody's."""
    path = tmp_path / "it's"
    path.touch()
    path.chmod(0o666)
    with pytest.raises(StoreError, match="others can write to") as caught:
        open_private(path, FLAGS)
    assert caught.value.next_step == f"chmod go-w '{tmp_path}/it'\"'\"'s'"

    directory = tmp_path / "state"
    directory.mkdir()
    directory.chmod(0o770)
    with pytest.raises(StoreError, match="others can write to") as caught:
        make_private(directory)
    assert caught.value.next_step == f"chmod go-w {directory}"
    directory.chmod(0o750)
    make_private(directory)


def test_what_is_made_is_this_users_alone(tmp_path: Path) -> None:
    """Whatever the umask says."""
    before = os.umask(0)
    try:
        make_private(tmp_path / "state")
        os.close(open_private(tmp_path / "state" / "file", FLAGS))
    finally:
        os.umask(before)

    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("state", "state/file")]
    assert modes == [0o700, 0o600]


def test_another_users_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can change it at any time."""
    path = tmp_path / "file"
    path.touch()
    if path.stat().st_uid == 0:
        if os.geteuid() != 0:
            pytest.skip("files here belong to root")
        os.chown(path, 4321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(StoreError, match="belongs to another user") as caught:
        open_private(path, FLAGS)
    assert caught.value.next_step.startswith("chown ")


def test_a_pipe_is_refused_without_waiting_for_anybody(tmp_path: Path) -> None:
    """Opening it would wait for a reader."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="not a regular file"):
        open_private(tmp_path / "pipe", os.O_RDWR)
