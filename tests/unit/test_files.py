"""Local files that an operator named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replicator.files import read_regular


@pytest.mark.timeout(60)
def test_only_regular_files(tmp_path: Path) -> None:
    """Links to them are what Kubernetes mounts; what would wait or never end is refused."""
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    file.write_bytes(b"0123456789")
    link.symlink_to(file)
    os.mkfifo(pipe)
    assert read_regular(link, 100) == b"0123456789"
    assert read_regular(file, 4) == b"0123"
    for other in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match=r"is no regular file|Is a directory"):
            read_regular(other, 4)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 4)
