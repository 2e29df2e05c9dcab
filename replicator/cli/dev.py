"""`replicator dev`: local Kafka clusters to try things on."""

from __future__ import annotations

import enum
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from replicator.errors import UsageError

if TYPE_CHECKING:
    from replicator.devkit.local import LocalCluster

app = typer.Typer(help="Local Kafka clusters to try things on.", no_args_is_help=True)

_BASE_PORT = 19092
_PORTS_APART = 10_000


class Output(enum.StrEnum):
    """How `dev status` prints."""

    TABLE = "table"
    JSON = "json"


_Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Where the clusters live.", show_default="~/.cache/replicator/dev"),
]


@app.command()
def up(
    clusters: Annotated[str, typer.Option(metavar="NAMES", help="Names, separated by commas.")] = "east,west",
    brokers: Annotated[int, typer.Option(min=1, max=9, help="Brokers per cluster.")] = 1,
    base_port: Annotated[int, typer.Option(help="First port; each further cluster starts 10000 higher.")] = _BASE_PORT,
    directory: _Directory = None,
    config: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A broker property; repeat for more.")
    ] = None,
    kafka_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Kafka version.", show_default="the newest tested")
    ] = None,
) -> None:
    """Start local clusters; they run until `dev down`."""
    from replicator.devkit import KAFKA_VERSION, is_fetched, local

    where = directory or local.default_directory()
    version = kafka_version or KAFKA_VERSION
    configs = local.plan(
        where.absolute(),
        [name.strip() for name in clusters.split(",") if name.strip()],
        brokers=brokers,
        base_port=base_port,
        ports_apart=_PORTS_APART,
        kafka_version=version,
        overrides=dict(_key_value(text) for text in config or []),
    )
    with _termination_as_interrupt():
        if not is_fetched(version):
            typer.echo(f"downloading Kafka {version}, once ...", err=True)
        running, already = local.up(where.absolute(), configs)
    status_word = "already_up" if already else "up"
    for cluster in running:
        typer.echo(f"{cluster.name}  {status_word}  {cluster.bootstrap}  (Kafka {cluster.kafka_version})")
    typer.echo(f"next: replicator dev status{_option(directory)}; to stop them: dev down{_option(directory)}")


@app.command()
def status(
    directory: _Directory = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="Output format.")] = Output.TABLE,
) -> None:
    """Show the local clusters and whether their brokers are up."""
    from replicator.devkit import local

    found = [_snapshot(cluster) for cluster in local.load(directory or local.default_directory())]
    if output is Output.JSON:
        typer.echo(json.dumps({"schema_version": local.SCHEMA_VERSION, "clusters": found}, indent=2))
        return
    if not found:
        typer.echo(f"no local cluster is up\nnext: replicator dev up{_option(directory)}")
    for cluster in found:
        typer.echo(f"{cluster['name']}  {cluster['state']}  {cluster['bootstrap']}  {cluster['cluster_id']}")
        for broker in cluster["brokers"]:
            typer.echo(f"  broker {broker['node_id']}  {broker['state']}  pid {broker['pid']}  {broker['log_file']}")


@app.command()
def down(
    directory: _Directory = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove their data too.")] = False,
) -> None:
    """Stop the local clusters."""
    from replicator.devkit import local

    ended = local.down((directory or local.default_directory()).absolute(), wipe=wipe)
    for name in ended:
        typer.echo(f"{name}  down")
    if not ended:
        typer.echo("already_down")


def _snapshot(cluster: LocalCluster) -> dict[str, Any]:
    """Return one cluster of `dev status -o json`."""
    alive = {broker.node_id for broker in cluster.alive}
    serving = {broker.node_id for broker in cluster.serving()}
    brokers = [
        {
            "node_id": broker.node_id,
            "state": "serving" if broker.node_id in serving else "not_serving" if broker.node_id in alive else "ended",
            "pid": broker.process.pid if broker.node_id in alive else None,
            "port": broker.port,
            "log_file": broker.log_file,
        }
        for broker in cluster.brokers
    ]
    return {
        "name": cluster.name,
        "state": "up" if len(serving) == len(brokers) else "degraded" if alive else "down",
        "cluster_id": cluster.cluster_id,
        "kafka_version": cluster.kafka_version,
        "bootstrap": cluster.bootstrap,
        "brokers": brokers,
    }


def _key_value(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"--config {text} is not KEY=VALUE", next_step="for example: --config log.retention.ms=60000")
    return key.strip(), value.strip()


def _option(directory: Path | None) -> str:
    return "" if directory is None else f" --dir {directory}"


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does: what it started is stopped first."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
