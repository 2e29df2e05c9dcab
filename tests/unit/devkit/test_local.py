"""`replicator dev` without a broker: plans, the state file, and what the command line says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from replicator.cli import dev
from replicator.devkit import local
from replicator.devkit.brokers.config import HOST, ClusterConfig
from replicator.devkit.brokers.ports import check_ports, free_base_port
from replicator.devkit.brokers.ready import serving_brokers
from replicator.devkit.cluster import Cluster, is_cluster_directory, wipe_directory
from replicator.devkit.runtime.processes import ProcessRef
from replicator.devkit.tokens import unsecured_token
from replicator.errors import DevkitError, UsageError

RUNNER = CliRunner()


def _plan(directory: Path, *names: str, brokers: int = 1, base_port: int = 19092) -> list[ClusterConfig]:
    return local.plan(
        directory,
        names,
        brokers=brokers,
        base_port=base_port,
        ports_apart=10_000,
        kafka_version="4.3.1",
        overrides={},
    )


@pytest.fixture
def sleeper() -> Iterator[ProcessRef]:
    """A process that stands for a broker."""
    with subprocess.Popen(["/bin/sleep", "300"]) as process:
        yield ProcessRef.of(process.pid)
        process.kill()


def _write_state(directory: Path, process: ProcessRef, *, brokers: str = "1") -> None:
    directory.mkdir(exist_ok=True)
    broker = {
        "node_id": 1,
        "port": 1,
        "log_file": "/log",
        "process": {"pid": process.pid, "start_ticks": process.start_ticks, "boot_id": process.boot_id},
    }
    cluster = {
        "name": "east",
        "cluster_id": "id",
        "kafka_version": "4.3.1",
        "bootstrap": "127.0.0.1:1",
        "asked": {"brokers": brokers, "base port": "19092", "Kafka version": "4.3.1"},
        "brokers": [broker],
    }
    (directory / "devkit.json").write_text(json.dumps({"schema_version": 1, "clusters": [cluster]}))


def test_clusters_are_spaced(tmp_path: Path) -> None:
    """East on 19092, west on 29092."""
    east, west = _plan(tmp_path, "east", "west", brokers=3)

    assert (east.base_port, west.base_port) == (19092, 29092)
    assert (east.directory, west.directory) == (tmp_path / "east", tmp_path / "west")


def test_a_name_used_twice_is_refused(tmp_path: Path) -> None:
    """They would share a directory."""
    with pytest.raises(DevkitError, match="needs its own name"):
        _plan(tmp_path, "east", "east")


def test_down_ends_exactly_the_recorded_processes(tmp_path: Path, sleeper: ProcessRef) -> None:
    """And says which clusters ran."""
    _write_state(tmp_path, sleeper)

    assert local.down(tmp_path) == ["east"]
    assert not sleeper.alive
    assert local.load(tmp_path) == []
    assert local.down(tmp_path) == []


def test_down_leaves_a_recycled_pid_alone(tmp_path: Path, sleeper: ProcessRef) -> None:
    """The state file may be older than the process of that number."""
    _write_state(tmp_path, ProcessRef(sleeper.pid, sleeper.start_ticks - 1, sleeper.boot_id))

    assert local.down(tmp_path) == []
    assert sleeper.alive


def test_up_again_starts_nothing(tmp_path: Path, sleeper: ProcessRef) -> None:
    """The same question gets the same clusters."""
    _write_state(tmp_path, sleeper)

    running, already = local.up(tmp_path, _plan(tmp_path, "east"))

    assert already
    assert [cluster.bootstrap for cluster in running] == ["127.0.0.1:1"]


def test_up_in_another_shape_is_refused(tmp_path: Path, sleeper: ProcessRef) -> None:
    """It says what differs and what to do; nothing was touched."""
    _write_state(tmp_path, sleeper, brokers="3")

    with pytest.raises(DevkitError, match="other settings") as caught:
        local.up(tmp_path, _plan(tmp_path, "east"))

    assert caught.value.why == "brokers is 3, not 1"
    assert sleeper.alive


@pytest.mark.parametrize("text", ["", "{}", '{"clusters": [{"name": "x"}]}', '{"clusters": 3}'])
def test_a_damaged_state_file_is_named(tmp_path: Path, text: str) -> None:
    """Guessing could end someone else's process."""
    (tmp_path / "devkit.json").write_text(text)

    with pytest.raises(DevkitError, match="damaged"):
        local.load(tmp_path)


def test_wipe_removes_only_clusters(tmp_path: Path) -> None:
    """A directory given by mistake keeps its files."""
    ours, other = tmp_path / "east", tmp_path / "thesis"
    for directory in (ours, other):
        directory.mkdir()
        (directory / "file").touch()
    (ours / "cluster.json").touch()

    local.down(tmp_path, wipe=True)

    assert not ours.exists()
    assert (other / "file").exists()
    assert not is_cluster_directory(other)
    with pytest.raises(DevkitError, match="not the directory of a local cluster"):
        wipe_directory(other)


def test_a_taken_port_is_found(tmp_path: Path) -> None:
    """Before a broker is started in vain."""
    base = free_base_port(1)
    config = ClusterConfig("east", tmp_path, base)
    check_ports(config, 1)

    with socket.create_server((HOST, base)), pytest.raises(DevkitError) as caught:
        check_ports(config, 1)
    assert caught.value.why == f"another process has {HOST}:{base} (DIRECT)"


def test_base_ports_are_given_once() -> None:
    """The first cluster may not listen yet when the second asks."""
    given = [free_base_port(3) for _ in range(20)]

    assert all(abs(a - b) >= 30 for i, a in enumerate(given) for b in given[:i])


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\x00\x00", b"HTTP/1.1 400 no\r\n\r\n", b"\x00\x00\x00\x04\x00\x00\x00\x01"]
)
def test_what_is_no_broker_serves_nothing(answer: bytes) -> None:
    """Neither a closed port nor another program's port raises."""
    with closing(socket.create_server((HOST, 0))) as server:
        port: int = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert serving_brokers(HOST, port, timeout_seconds=1) == {}
        thread.join()
    assert serving_brokers(HOST, port, timeout_seconds=1) == {}


def test_a_cluster_that_was_never_started_says_so(tmp_path: Path) -> None:
    """No id, no brokers, no log."""
    cluster = Cluster(ClusterConfig("east", tmp_path / "east", 19092))

    assert cluster.broker_pids == {}
    with pytest.raises(DevkitError, match="never started"):
        _ = cluster.cluster_id
    with pytest.raises(DevkitError, match="never started"):
        cluster.kill_broker(1)
    with pytest.raises(DevkitError, match="no node 2"):
        cluster.kill_broker(2)
    with pytest.raises(DevkitError, match="releasable"):
        cluster.release()


def test_an_unsecured_token_has_an_empty_signature() -> None:
    """Header, claims, nothing."""
    header, claims, signature = unsecured_token("alice").split(".")

    assert header
    assert claims
    assert signature == ""


def test_status_without_clusters_names_the_next_command(tmp_path: Path) -> None:
    """An empty answer would leave a person alone."""
    result = RUNNER.invoke(dev.app, ["status", "--dir", str(tmp_path)])

    assert result.exit_code == 0
    assert "next: replicator dev up" in result.output


def test_status_tells_what_ended(tmp_path: Path) -> None:
    """Field by field, null where there is nothing."""
    _write_state(tmp_path, ProcessRef(os.getpid(), 1, "another boot"))

    result = RUNNER.invoke(dev.app, ["status", "--dir", str(tmp_path), "-o", "json"])

    (cluster,) = json.loads(result.output)["clusters"]
    assert cluster["state"] == "down"
    assert cluster["brokers"] == [{"node_id": 1, "state": "ended", "pid": None, "port": 1, "log_file": "/log"}]


def test_down_repeated_says_so(tmp_path: Path) -> None:
    """Exit status 0."""
    result = RUNNER.invoke(dev.app, ["down", "--dir", str(tmp_path / "nothing")])

    assert (result.exit_code, result.output) == (0, "already_down\n")


def test_a_config_without_a_value_is_a_usage_error(tmp_path: Path) -> None:
    """Raised as ours, for the main program to show."""
    result = RUNNER.invoke(dev.app, ["up", "--dir", str(tmp_path), "--config", "log.retention.ms"])

    assert isinstance(result.exception, UsageError)
