"""A planted secret is looked for in everything that anybody can see: it is in the flow file, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.devkit import ListenerSecurity
from replicator.model.security import Mechanism, Protocol
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, create, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_switchover import PARTITIONS, both_ways, spread

pytestmark = pytest.mark.long

CANARY = "canary-7d1f3b"
WRONG = "canary-wrong-91c2"

READING = (
    ("flow", "list"),
    ("flow", "status"),
    ("flow", "status", "-o", "json"),
    ("mirror", "list", "FLOW", "-o", "wide"),
    ("mirror", "describe", "FLOW", "TOPIC", "--events"),
    ("group", "list", "FLOW"),
    ("lease", "list", "-o", "json"),
    ("audit", "show"),
    ("switch", "status", "FLOW", "-o", "json"),
    ("switch", "history", "FLOW"),
    ("offsets", "translate", "FLOW", "--topic", "TOPIC", "--partition", "0", "--offset", "1"),
    ("failover", "--rehearse", "FLOW"),
    ("failover", "FLOW", "--dry-run"),
    ("switchover", "FLOW", "--dry-run"),
    ("failback", "FLOW", "--dry-run"),
    ("flow", "pause", "FLOW", "--reason", "canary test"),
    ("flow", "resume", "FLOW"),
    ("switchover", "FLOW", "--yes", "--no-wait"),
    ("switch", "abort", "FLOW"),
)
ON_FILES = (
    ("validate", "FILE", "--connect"),
    ("validate", "FILE", "--connect", "-o", "json"),
    ("config", "effective", "FILE"),
    ("verify", "FLOW", "-c", "FILE"),
)


def everything(daemon: Daemon, flow: str, topic: str, environ: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each thing that can be seen of a daemon, with its name."""
    names = {"FLOW": flow, "TOPIC": topic, "FILE": str(daemon.file)}
    for words in (*READING, *ON_FILES):
        found = [names.get(word, word) for word in words]
        if words in READING:
            done = daemon.cli(*found)
        else:
            program = str(Path(".venv/bin/replicator").absolute())
            done = subprocess.run(
                [program, *found], capture_output=True, text=True, check=False, env=environ, timeout=60
            )
        yield " ".join(words), done.stdout + done.stderr
    if daemon.process.poll() is None:
        for path in ("/metrics", "/status", "/healthz", "/readyz"):
            yield path, _body(daemon, path)
        yield "command line", Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
    yield "log", daemon.log_file.read_text()
    for file in daemon.state_dir.rglob("*"):
        if file.is_file():
            yield file.name, file.read_bytes().decode(errors="replace")


def _body(daemon: Daemon, path: str) -> str:
    """Return what is answered, whatever the status: a daemon whose flows cannot log in is not ready."""
    try:
        return daemon._get(path)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.read().decode()


@pytest.mark.parametrize("password", [CANARY, WRONG], ids=["right", "wrong"])
def test_a_secret_shows_nowhere(
    west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster, tmp_path: Path, password: str
) -> None:
    """Neither the right password nor one that is refused: in output, logs, errors, status, files or arguments."""
    east = make_cluster(
        security=ListenerSecurity(Protocol.SASL_PLAINTEXT, (Mechanism.PLAIN,), users={"replicator": CANARY}),
        authorizer=True,
        overrides={"allow.everyone.if.no.acl.found": "true"},
    )
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, spread(30))
    secret = tmp_path / "password"
    secret.write_text(password + "\n")
    secret.chmod(0o600)
    daemon = both_ways(lab, east, west, topic_name)
    daemon.document["clusters"]["east"] |= {
        "bootstrap": east.config.secure_bootstrap,
        "security": {
            "protocol": "SASL_PLAINTEXT",
            "mechanism": "PLAIN",
            "username": "replicator",
            "password_file": str(secret),
        },
    }
    daemon.write()
    daemon.start(ready_seconds=0)
    if password == CANARY:
        wait_copied(east, west, topic_name)
    else:
        wait_until("its flows end", lambda: "cannot be logged in" in daemon.log_tail(), 30)
    for name, text in everything(daemon, lab.flow, topic_name, dict(os.environ)):
        assert password not in text, name
        assert CANARY not in text, name
