"""A class archive (JVM class data sharing) for the jars of one Kafka version.

A broker start spends most of its time loading and verifying classes. Measured on two cores, with
`config.FAST_JVM`: a broker serves after 2.2 s and 2.8 s of CPU without an archive, after 1.1 s and 1.5 s with one.
It is written once, by a broker that starts, serves and stops. A JVM ignores an archive that does not fit.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

from replicator.devkit.brokers.broker import Broker
from replicator.devkit.brokers.config import ClusterConfig
from replicator.devkit.brokers.ports import free_base_port
from replicator.devkit.runtime.distribution import Distribution, locked, needs_zookeeper
from replicator.errors import DevkitError

_SERVE_SECONDS = 60.0
_DUMP_SECONDS = 60.0
_POLL_SECONDS = 0.05


def ensure_archive(distribution: Distribution) -> None:
    """Write the class archive for these jars and this Java, unless one was written or tried before.

    It is an optimization: versions with a ZooKeeper do without. If the JVM cannot write one, a file next to it says so,
    and brokers start without.
    """
    failed = distribution.archive.with_suffix(".failed")
    if distribution.archive.is_file() or failed.is_file() or needs_zookeeper(distribution.version):
        return
    with locked(distribution.archive.with_suffix(".lock")):
        if distribution.archive.is_file() or failed.is_file():
            return
        with tempfile.TemporaryDirectory(prefix="archive-", dir=distribution.archive.parent) as work:
            try:
                _dump(distribution, Path(work)).rename(distribution.archive)
            except (DevkitError, FileNotFoundError) as error:
                failed.write_text(f"{error}\n")


def _dump(distribution: Distribution, work: Path) -> Path:
    """Run one broker from start to stop and return the archive that its JVM wrote on exit."""
    archive = work / "classes.jsa"
    base = ClusterConfig("archive", work, free_base_port(1), kafka_version=distribution.version)
    formatting = Broker(base, 1, distribution)
    formatting.write_files()
    tool = formatting.begin_format("4L6g3nShT-eMCtK--X86sw")
    if tool is not None:
        formatting.end_format(tool)
    config = dataclasses.replace(base, jvm_flags=(*base.jvm_flags, f"-XX:ArchiveClassesAtExit={archive}"))
    broker = Broker(config, 1, distribution)
    try:
        broker.launch()
        deadline = time.monotonic() + _SERVE_SECONDS
        while not broker.serves({1}):
            if time.monotonic() > deadline:
                raise DevkitError(f"{broker.name} did not serve in {_SERVE_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
        broker.stop(_DUMP_SECONDS)
    finally:
        broker.kill()
    return archive
