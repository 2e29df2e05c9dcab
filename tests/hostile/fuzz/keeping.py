"""What a fuzzer finds is kept by the tool itself: inputs that went wrong, and the smallest ways to new code."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
INPUT_BYTES_MAX = 2048
CORPUS_BYTES_MAX = 16 << 10
"""Of one target's ways in; what went wrong is kept whatever its size."""


def keep(name: str, options: Sequence[str]) -> int:
    """Fuzz a target, keep what is found, and tell of it; return the fuzzer's exit code."""
    with tempfile.TemporaryDirectory(prefix="replicator-fuzz-") as directory:
        grown, merged = Path(directory) / "grown", Path(directory) / "merged"
        grown.mkdir()
        ended = _fuzz(name, *options, str(grown))
        wrong = [_put(path, name, "found") for path in sorted(grown.glob("found-*"))]
        for path in grown.glob("found-*"):
            path.unlink()
        shutil.copytree(CORPUS / name, merged)
        known = {path.name for path in merged.iterdir()}
        if not wrong:
            _fuzz(name, "-merge=1", str(merged), str(grown))
        ways = sorted((path for path in merged.iterdir() if path.name not in known), key=_size)
        kept = [_put(path, name, "way") for path in ways[: _room(name, ways)]]
    for path in wrong:
        print(f"went wrong, and is kept: {path}")  # noqa: T201 - a tool
    print(f"{name}: {len(kept)} of {len(ways)} new ways are kept")  # noqa: T201
    return ended


def _fuzz(name: str, *options: str) -> int:
    return subprocess.run([sys.executable, "-m", "tests.hostile.fuzz", name, *options], check=False).returncode


def _size(path: Path) -> int:
    return path.stat().st_size


def _room(name: str, ways: Sequence[Path]) -> int:
    """Return how many of the ways, of which the smallest come first, the corpus has room for."""
    bytes_kept = sum(map(_size, (CORPUS / name).iterdir()))
    for count, path in enumerate(ways):
        bytes_kept += _size(path)
        if bytes_kept > CORPUS_BYTES_MAX:
            return count
    return len(ways)


def _put(path: Path, name: str, kind: str) -> Path:
    raw = path.read_bytes()
    kept = CORPUS / name / f"{kind}-{hashlib.sha256(raw).hexdigest()[:12]}"
    kept.write_bytes(raw)
    return kept
