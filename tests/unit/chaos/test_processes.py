"""A process of a run is counted over all its starts, and is gone when it was ended."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from chaos.errors import ChaosError
from chaos.processes import Child

_BUSY = (
    "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint('done', flush=True)\n"
)


def _wait_for_log(child: Child, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in child.log_tail():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_figures_add_up_over_starts(tmp_path: Path) -> None:
    """CPU time is a sum, memory a peak."""
    child = Child("busy", [sys.executable, "-c", _BUSY + "time.sleep(60)"], tmp_path / "log")
    child.start()
    _wait_for_log(child, "done")
    child.kill()
    first = child.cpu_seconds
    child.start()
    _wait_for_log(child, "done\ndone")
    child.kill()

    assert not child.alive
    assert first >= 0.2
    assert child.cpu_seconds >= first + 0.2
    assert child.peak_rss_bytes > 1 << 20


def test_a_paused_process_can_be_stopped(tmp_path: Path) -> None:
    """SIGTERM reaches it, and its exit status tells."""
    child = Child("sleeper", ["/bin/sleep", "60"], tmp_path / "log")
    child.start()
    child.signal(signal.SIGSTOP)

    assert child.alive
    assert child.stop() == 128 + signal.SIGTERM
    assert not child.alive


def test_it_starts_once(tmp_path: Path) -> None:
    """A second start is refused, and an end by itself has its status."""
    child = Child("sleeper", ["/bin/sh", "-c", "sleep 0.2; exit 3"], tmp_path / "log")
    child.start()

    with pytest.raises(ChaosError, match="runs already"):
        child.start()
    deadline = time.monotonic() + 10
    while child.alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert child.reap() == 3


def test_a_process_that_has_not_logged_since_its_start(tmp_path: Path) -> None:
    """What it wrote before an earlier end does not count."""
    child = Child("speaker", ["/bin/sh", "-c", "sleep 0.2; echo here; sleep 60"], tmp_path / "log")
    for said in ("here", "here\nhere"):
        child.start()
        assert not child.has_logged()
        _wait_for_log(child, said)
        assert child.has_logged()
        assert child.stop() == 128 + signal.SIGTERM
