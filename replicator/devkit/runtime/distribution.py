"""The jars of one Kafka version in the user's cache: Maven fetches them once, then they are only read."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from replicator.devkit.runtime.java import find_java, find_maven, java_version
from replicator.errors import DevkitError

KAFKA_VERSION = "4.3.1"
"""The default version of clusters."""

KAFKA_VERSION_OLD = "3.9.2"
"""The newest patch of Kafka 3."""

KAFKA_VERSION_OLDEST = "2.8.2"
"""The oldest version that we test with; it still needs a ZooKeeper."""

_FIRST_WITHOUT_ZOOKEEPER = (3, 3)
"""The first version whose own quorum is ready for production (KIP-833)."""
_FIRST_WITH_SCRAM_AT_FORMAT = (3, 5)
"""The first version that can create users with a cluster's first metadata (KIP-900)."""

_FETCH_TIMEOUT_SECONDS = 900
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Distribution:
    """Everything needed to run programs of one Kafka version.

    Attributes:
        version: Kafka's version, such as ``4.3.1``.
        java: The `java` command.
        libs: Directory of the jars.
        archive: The JVM's class archive for these jars and this Java (see `devkit.archive`); it need not exist.
    """

    version: str
    java: Path
    libs: Path
    archive: Path

    @property
    def uses_log4j2(self) -> bool:
        """Whether this version logs with Log4j 2 (Kafka 4), not Log4j 1 (Kafka 3)."""
        return _uses_log4j2(self.version)

    @property
    def formats_scram(self) -> bool:
        """Whether the format tool can create SCRAM users."""
        return _numbers(self.version) >= _FIRST_WITH_SCRAM_AT_FORMAT

    def command(self, main_class: str, *args: str, jvm_flags: tuple[str, ...] = ()) -> list[str]:
        """Return the command line that runs a main class of these jars."""
        # The archive is only a faster way to load the same classes: a JVM that cannot use it ignores it.
        shared = (f"-XX:SharedArchiveFile={self.archive}",) if self.archive.is_file() else ()
        return [str(self.java), *shared, *jvm_flags, "-cp", f"{self.libs}/*", main_class, *args]


def cache_dir() -> Path:
    """Return our directory below the user's cache directory (XDG)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "replicator"


def needs_zookeeper(version: str) -> bool:
    """Whether we run brokers of that Kafka version with a ZooKeeper, not with their own quorum."""
    return _numbers(version) < _FIRST_WITHOUT_ZOOKEEPER


def is_fetched(version: str) -> bool:
    """Whether the jars of that Kafka version are there already: if not, the first start takes longer."""
    return (cache_dir() / f"kafka-{version}" / "libs").is_dir()


def ensure_distribution(version: str = KAFKA_VERSION) -> Distribution:
    """Return the jars of that Kafka version, fetching them first if this user never did.

    Safe to call from several processes at once: one fetches, the others wait for it.

    Raises:
        DevkitError: Java or Maven is missing, the version is malformed, or Maven could not fetch it.
    """
    if not _VERSION.fullmatch(version):
        raise DevkitError(
            f"{version!r} is not a Kafka version",
            next_step=f"give all three numbers, for example {KAFKA_VERSION} or {KAFKA_VERSION_OLD}",
        )
    java = find_java()
    home = cache_dir() / f"kafka-{version}"
    libs = home / "libs"
    if not libs.is_dir():
        with locked(home / "fetch.lock"):
            if not libs.is_dir():
                _fetch(version, libs)
    return Distribution(version, java, libs, home / f"classes-java-{java_version(java)}.jsa")


def _fetch(version: str, libs: Path) -> None:
    """Fill `libs` in one step: it appears complete or not at all."""
    maven = find_maven()
    work = Path(tempfile.mkdtemp(prefix="fetch-", dir=libs.parent))
    try:
        pom = work / "pom.xml"
        pom.write_text(resources.files("replicator.devkit").joinpath("pom.xml").read_text())
        profile = "log4j2" if _uses_log4j2(version) else "reload4j"
        command = [
            *(str(maven), "--batch-mode", "--quiet", "--no-transfer-progress", "--file", str(pom)),
            *("--activate-profiles", profile, f"-Dkafka.version={version}"),
            *("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={work / 'libs'}"),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise DevkitError(
                f"fetching the jars of Kafka {version} took more than {_FETCH_TIMEOUT_SECONDS} s"
            ) from error
        if done.returncode != 0:
            raise DevkitError(
                f"Maven could not fetch the jars of Kafka {version}",
                why=_maven_errors(done.stdout + done.stderr),
                next_step="check the version, the network and Maven's settings, then repeat the command",
            )
        (work / "libs").rename(libs)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _maven_errors(output: str) -> str:
    """Return the first few error lines of Maven."""
    lines = [line.removeprefix("[ERROR]").strip() for line in output.splitlines() if "[ERROR]" in line]
    return "; ".join(line for line in lines if line)[:600] or output.strip()[-600:]


def _uses_log4j2(version: str) -> bool:
    return _numbers(version) >= (4, 0)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, created if needed; it ends with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
