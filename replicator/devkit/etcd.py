"""A real etcd on this machine, for tests: the server from Debian's package, unpacked into the user's cache."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from replicator.devkit.runtime.distribution import cache_dir, locked
from replicator.errors import DevkitError

_FETCH_SECONDS = 300
_START_SECONDS = 20.0
_HOST = "127.0.0.1"


def ensure_etcd() -> Path:
    """Return the server's program, fetching Debian's `etcd-server` first if it is neither installed nor cached.

    Raises:
        DevkitError: It cannot be fetched: apt is missing, or offers no such package.
    """
    installed = shutil.which("etcd")
    if installed is not None:
        return Path(installed)
    home = cache_dir() / "etcd"
    program = home / "usr/bin/etcd"
    with locked(home / "fetch.lock"):
        if not program.is_file():
            _fetch(home)
    return program


def _fetch(home: Path) -> None:
    work = home / "package"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for command in (["apt-get", "download", "etcd-server"], ["dpkg", "-x", "PACKAGE", str(home)]):
        words = [str(next(work.glob("*.deb"))) if word == "PACKAGE" else word for word in command]
        try:
            done = subprocess.run(words, cwd=work, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DevkitError("etcd cannot be fetched", why=str(error), next_step="install etcd-server") from error
        if done.returncode:
            raise DevkitError("etcd cannot be fetched", why=done.stderr.strip(), next_step="install etcd-server")


@dataclass(slots=True)
class Etcd:
    """A cluster of etcd members.

    Attributes:
        directory: Where they keep their data.
        base_port: The first port; each member has two.
        members: How many there are.
    """

    directory: Path
    base_port: int
    members: int = 1
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def port(self, member: int) -> int:
        """Return where clients reach a member."""
        return self.base_port + 2 * member

    def start(self) -> None:
        """Start all members and wait until they answer.

        Raises:
            DevkitError: One does not.
        """
        for member in range(self.members):
            self.start_member(member)
        deadline = time.monotonic() + _START_SECONDS
        for member in range(self.members):
            while not _answers(self.port(member)):
                if time.monotonic() >= deadline:
                    raise DevkitError(f"etcd member {member} does not answer", why=str(self.directory))
                time.sleep(0.05)

    def start_member(self, member: int) -> None:
        """Start one member, with its earlier data if it has any."""
        program = ensure_etcd()
        home = self.directory / f"member-{member}"
        home.mkdir(parents=True, exist_ok=True)
        peers = ",".join(f"m{one}=http://{_HOST}:{self.port(one) + 1}" for one in range(self.members))
        client, peer = f"http://{_HOST}:{self.port(member)}", f"http://{_HOST}:{self.port(member) + 1}"
        with (home / "log").open("ab") as log:
            self.processes[member] = subprocess.Popen(
                [
                    str(program),
                    *("--name", f"m{member}", "--data-dir", str(home / "data")),
                    *("--listen-client-urls", client, "--advertise-client-urls", client),
                    *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                    *("--initial-cluster", peers, "--initial-cluster-state", "new"),
                    *("--heartbeat-interval", "50", "--election-timeout", "500"),
                ],
                stdout=log,
                stderr=log,
            )

    def kill(self, member: int) -> None:
        """Stop one member with SIGKILL."""
        process = self.processes.pop(member)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stop all members."""
        for member in list(self.processes):
            self.kill(member)


def _answers(port: int) -> bool:
    with socket.socket() as line:
        line.settimeout(0.5)
        return line.connect_ex((_HOST, port)) == 0
