"""`replicator demo`: two clusters, a flow, two faults, and proof that nothing was lost, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli.printing.output import note
from replicator.errors import Unequal

if TYPE_CHECKING:
    from replicator.cli.demo.result import Result
    from replicator.cli.demo.stage import Stage
    from replicator.cli.demo.view import View


def command(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave clusters and replicator running, and show how to look around.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="An empty directory to work in; wiped at the end.", show_default="a new one"),
    ] = None,
) -> None:
    """Copy between two local clusters, break things, compare.

    Every record is compared at the end. It takes about a minute and leaves nothing behind. It needs Java 17 or newer;
    the first run also downloads Kafka.
    """
    # Only the demo needs these: librdkafka, rich, the devkit.
    from replicator.cli.demo.story import STEPS
    from replicator.cli.demo.view import View
    from replicator.devkit import KAFKA_VERSION, is_fetched

    view = View(STEPS)
    view.opening(
        "Replicator demo",
        "Two Kafka clusters with one flow between them; a crash and a restart while records keep coming. At the end, "
        "every record on both sides is compared.",
    )
    if not is_fetched(KAFKA_VERSION):
        view.fact(f"first run: downloading Kafka {KAFKA_VERSION} takes a minute or two")
    try:
        result = _play(view, directory, keep=keep)
    except KeyboardInterrupt:
        note("interrupted: clusters and replicator were stopped" + ("" if keep else ", their files removed"))
        raise
    _judge(result)


def _play(view: View, directory: Path | None, *, keep: bool) -> Result:
    from replicator.cli.demo.records import TOPICS
    from replicator.cli.demo.stage import Stage, ending, workplace
    from replicator.cli.demo.story import Story

    with workplace(directory, keep=keep) as place:
        stage = Stage(place, tuple(topic.name for topic in TOPICS), keep=keep)
        with ending(stage):
            result = Story(stage, view).run()
            view.table("Result", result.rows())
            if keep:
                with view.waiting("handing clusters and replicator over"):
                    stage.hand_over()
                _show_how_to_look_around(view, stage)
    return result


def _show_how_to_look_around(view: View, stage: Stage) -> None:
    from replicator.cli.demo.stage import FLOW

    process = stage.daemon.process
    view.plain()
    view.plain("Still running. To look around:")
    view.plain(f"  replicator flow status --address 127.0.0.1:{stage.port + 1}")
    view.plain(f"  replicator verify {FLOW} --config {stage.file}")
    view.plain(f"  replicator validate {stage.file} --connect")
    view.plain(f"  curl http://127.0.0.1:{stage.port}/metrics")
    view.plain(f"  less {stage.file}      and      less {stage.daemon.log_file}")
    view.plain("To stop it:")
    view.plain(
        f"  kill {process.pid if process else ''}; replicator dev down --wipe --dir {stage.directory / 'clusters'}"
    )


def _judge(result: Result) -> None:
    """Return if everything is equal.

    Raises:
        Unequal: Something differs; names it.
    """
    if not result.equal:
        raise Unequal(
            "the two sides differ",
            why="\n  ".join(["", *result.differences()]),
            next_step="please report this; replicator demo --keep keeps everything for inspection",
        )
