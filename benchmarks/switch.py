"""``python -m benchmarks.switch``: how long a switchover and a failover of 1,000 partitions of one daemon take.

A source of one broker, a target of three, a flow with its way back, on this machine; a record in every partition. The
switchover is ordered with the producers stopped. For the failover the source is killed first. The time is that of the
command line, from the order to the last step; without the two looks that prove that nobody writes it would be shorter.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.topics import create_topics
from replicator.admin.producer import Outgoing, RecordProducer
from replicator.devkit import Cluster, ClusterConfig, free_base_port, start_clusters
from replicator.model.security import ClusterSpec
from replicator.model.units import parse_bootstrap

_TOPICS = 100
_BROKERS = 3
_COPY_SECONDS_MAX = 240.0
_ORDER_SECONDS_MAX = 300.0
_PROGRAM = (sys.executable, "-m", "replicator.cli.main")


def _run(address: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_PROGRAM, *words, "--address", address],
        capture_output=True,
        text=True,
        check=False,
        timeout=_ORDER_SECONDS_MAX,
    )


def _flow(address: str, name: str) -> dict[str, object]:
    answer = _run(address, "flow", "status", name, "-o", "json")
    return dict(json.loads(answer.stdout)["flows"][0]) if answer.returncode == 0 else {}


def _wait_copied(address: str, flow: str, partitions: int) -> None:
    deadline = time.monotonic() + _COPY_SECONDS_MAX
    while time.monotonic() < deadline:
        mirrors = _flow(address, flow).get("mirrors", [])
        ends = [part["target_end"] or 0 for mirror in mirrors for part in mirror["partitions"]]  # type: ignore[attr-defined]
        if len(ends) == partitions and min(ends) > 0:
            return
        time.sleep(1.0)
    raise SystemExit(f"{flow} has not copied {partitions} partitions within {_COPY_SECONDS_MAX:g} s")


def _timed(address: str, *words: str) -> float:
    began = time.monotonic()
    done = _run(address, *words)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.monotonic() - began


def _file(source: Cluster, target: Cluster, directory: Path, port: int) -> Path:
    topics = {"include": [{"prefix": "switched-"}]}
    flows = {
        "there": {"from": "east", "to": "west", "topics": topics},
        "back": {"from": "west", "to": "east", "topics": topics, "reverse_of": "there"},
    }
    document = {
        "version": 1,
        "daemon": {"state_dir": str(directory / "state"), "http": f"127.0.0.1:{port}", "rpc": f"127.0.0.1:{port + 1}"},
        "clusters": {"east": {"bootstrap": source.bootstrap}, "west": {"bootstrap": target.bootstrap}},
        "flows": {name: {**flow, "replication_factor": 1} for name, flow in flows.items()},
    }
    path = directory / "flows.yaml"
    path.write_text(json.dumps(document))  # JSON is YAML
    return path


def main() -> None:
    """Start clusters and a daemon, copy, switch over, fail over, print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--partitions", type=int, default=1000)
    arguments.add_argument("verb", choices=("switchover", "failover"))
    wanted = arguments.parse_args()
    each = max(1, wanted.partitions // _TOPICS)
    names = {f"switched-{number:03}": each for number in range(wanted.partitions // each)}
    partitions = each * len(names)
    with tempfile.TemporaryDirectory(prefix="switch-") as place:
        directory = Path(place)
        source = Cluster(ClusterConfig("east", directory / "east", free_base_port(1)))
        target = Cluster(ClusterConfig("west", directory / "west", free_base_port(_BROKERS), brokers=_BROKERS))
        port = free_base_port(1)
        daemon: subprocess.Popen[bytes] | None = None
        try:
            start_clusters([source, target])
            create_topics(source, names)
            spec = ClusterSpec("east", parse_bootstrap(source.bootstrap))
            for name in names:
                producer = RecordProducer(spec, name)
                for number in range(each):
                    producer.send(Outgoing(b"record", partition=number))
                producer.flush()
            with (directory / "log").open("wb") as log:
                daemon = subprocess.Popen([*_PROGRAM, "run", str(_file(source, target, directory, port))], stderr=log)
            address = f"127.0.0.1:{port + 1}"
            _wait_copied(address, "there", partitions)
            if wanted.verb == "switchover":
                words: tuple[str, ...] = ("switchover", "there", "--producers-stopped", "--reverse", "--yes")
            else:
                source.kill()
                words = ("failover", "there", "--confirm", "there")
            seconds = _timed(address, *words)
            print(f"{wanted.verb} of {partitions} partitions, {_BROKERS} brokers: {seconds:.1f} s")
        finally:
            if daemon is not None:
                daemon.kill()
                daemon.wait()
            source.kill()
            target.kill()


if __name__ == "__main__":
    main()
