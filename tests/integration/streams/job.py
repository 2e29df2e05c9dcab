"""Kafka Streams as a process: its jars by Maven into the user's cache, and a job compiled against them once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Self

from replicator.devkit.runtime.distribution import KAFKA_VERSION, cache_dir, locked
from replicator.devkit.runtime.java import find_java, find_maven
from tests.integration.kafka_client import Kafka

_HERE = Path(__file__).parent
_FETCH_SECONDS = 600


def ensure_job() -> Path:
    """Return the directory with the jars and the compiled job."""
    home = cache_dir() / f"kafka-streams-{KAFKA_VERSION}"
    libs = home / "libs"
    with locked(home / "fetch.lock"):
        if not libs.is_dir():
            work = home / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            subprocess.run(
                [
                    *(str(find_maven()), "--batch-mode", "--quiet", "--file", str(_HERE / "pom.xml")),
                    *(f"-Dkafka.version={KAFKA_VERSION}", "dependency:copy-dependencies"),
                    f"-DoutputDirectory={work / 'libs'}",
                ],
                check=True,
                timeout=_FETCH_SECONDS,
            )
            (work / "libs").rename(libs)
        source = _HERE / "Job.java"
        compiled = home / "Job.class"
        if not compiled.is_file() or compiled.stat().st_mtime < source.stat().st_mtime:
            javac = find_java().with_name("javac")
            subprocess.run([str(javac), "-cp", f"{libs}/*", "-d", str(home), str(source)], check=True)
    return home


class StreamsJob:
    """One run of the job on one cluster; its state directory goes with it.

    Args:
        cluster: Where it runs.
        application: Its application id; names of its internal topics begin with it.
        topics: Input and output.
        directory: Where its state and its log are.
    """

    def __init__(self, cluster: Kafka, application: str, topics: tuple[str, str], directory: Path) -> None:
        self._command = [
            *(str(find_java()), "-Xmx256m", "-cp", f"{ensure_job() / 'libs'}/*:{ensure_job()}", "Job"),
            *(cluster.bootstrap, application, *topics, str(directory / "state")),
        ]
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it with an empty state directory."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self

    def is_running(self) -> bool:
        """Return whether it works."""
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        return (self._directory / "log").read_text().rstrip().endswith("RUNNING")

    def kill(self) -> None:
        """End it by SIGKILL, most often inside a transaction."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
