"""The Toxiproxy server: built once into the user's cache, started for a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from chaos.errors import ChaosError
from chaos.processes import Child
from chaos.toxics import answers
from replicator.devkit.brokers.config import HOST
from replicator.devkit.runtime.distribution import cache_dir, locked

VERSION = "2.12.0"

_MODULE = "github.com/Shopify/toxiproxy/v2/cmd/server"
_BUILD_SECONDS_MAX = 600
_READY_SECONDS_MAX = 15.0
_POLL_SECONDS = 0.05


def ensure_server() -> Path:
    """Return the server's binary, building it first if this user never did.

    Safe to call from several processes at once: one builds, the others wait for it.

    Raises:
        ChaosError: Go is missing, or could not build it.
    """
    home = cache_dir() / f"toxiproxy-{VERSION}"
    binary = home / "toxiproxy-server"
    if not binary.is_file():
        with locked(home / "build.lock"):
            if not binary.is_file():
                _build(binary)
    return binary


def _build(binary: Path) -> None:
    """Build the server; it appears complete or not at all."""
    go = shutil.which("go")
    if go is None:
        raise ChaosError(
            "Toxiproxy's server is not built",
            why="there is no `go` on PATH",
            next_step="install Go 1.23 or later (apt-get install golang-go, where it is new enough)",
        )
    with tempfile.TemporaryDirectory(prefix="build-", dir=binary.parent) as work:
        try:
            done = subprocess.run(
                [go, "install", f"{_MODULE}@v{VERSION}"],
                env={**os.environ, "GOBIN": work},
                cwd=work,
                capture_output=True,
                text=True,
                check=False,
                timeout=_BUILD_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired as error:
            raise ChaosError(f"building Toxiproxy took more than {_BUILD_SECONDS_MAX} s") from error
        built = Path(work) / "server"
        if done.returncode != 0 or not built.is_file():
            raise ChaosError(
                f"Go could not build Toxiproxy {VERSION}",
                why=done.stderr.strip()[-600:],
                next_step="check Go's version (1.23 or later) and its module proxy, then run the same command again",
            )
        built.rename(binary)


def start_server(binary: Path, port: int, log: Path, *, seed: int) -> Child:
    """Start the server on loopback and wait until it answers.

    Args:
        binary: What `ensure_server` returned.
        port: Of its HTTP interface.
        log: Where its output goes.
        seed: Of its own draws (jitter).

    Raises:
        ChaosError: It did not answer in time.
    """
    server = Child("toxiproxy", [str(binary), "-host", HOST, "-port", str(port), "-seed", str(seed)], log)
    server.start()
    deadline = time.monotonic() + _READY_SECONDS_MAX
    while not answers(port):
        if not server.alive or time.monotonic() > deadline:
            server.kill()
            raise ChaosError(
                f"toxiproxy did not answer within {_READY_SECONDS_MAX:.0f} s",
                why=server.log_tail(),
                next_step=f"read {log}",
            )
        time.sleep(_POLL_SECONDS)
    return server
