"""Finds the Java runtime and Maven, or says which package provides them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from replicator.errors import DevkitError

JAVA_MAJOR_MIN = 17
"""Kafka 4 brokers need Java 17; one runtime serves every version we start."""

_VERSION = re.compile(r'version "(?P<full>(?:1\.)?(?P<major>\d+)[^"]*)"')
_VERSION_TIMEOUT_SECONDS = 30


def find_java() -> Path:
    """Return the `java` command: from ``JAVA_HOME`` if that is set, otherwise from ``PATH``.

    Raises:
        DevkitError: There is none, or it is older than Java 17.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        raise DevkitError(
            "Java is needed to run Kafka brokers, but was not found",
            why=f"no bin/java in JAVA_HOME={home}" if home else "no `java` on PATH",
            next_step=f"apt-get install openjdk-{JAVA_MAJOR_MIN}-jre-headless",
        )
    version = java_version(Path(found))
    major = int(re.match(r"(?:1\.)?(\d+)", version)[1])  # type: ignore[index]  # java_version matched it
    if major < JAVA_MAJOR_MIN:
        raise DevkitError(
            f"Kafka needs Java {JAVA_MAJOR_MIN} or newer",
            why=f"{found} is Java {version}",
            next_step=f"apt-get install openjdk-{JAVA_MAJOR_MIN}-jre-headless, or set JAVA_HOME to a newer one",
        )
    return Path(found)


@cache
def java_version(java: Path) -> str:
    """Return the full version text of that `java`, such as ``17.0.15``.

    Raises:
        DevkitError: It cannot be run, or prints no version.
    """
    try:
        done = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_VERSION_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DevkitError(f"`{java} -version` could not be run", why=str(error)) from error
    output = done.stderr + done.stdout
    match = _VERSION.search(output)
    if match is None:
        raise DevkitError(f"`{java} -version` prints no version", why=output.strip()[:200])
    return match["full"]


def find_maven() -> Path:
    """Return the `mvn` command.

    Raises:
        DevkitError: There is none on ``PATH``.
    """
    found = shutil.which("mvn")
    if found is None:
        raise DevkitError(
            "Maven is needed once, to fetch the Kafka jars, but was not found",
            why="no `mvn` on PATH",
            next_step="apt-get install maven",
        )
    return Path(found)
