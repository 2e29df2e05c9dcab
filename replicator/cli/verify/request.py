"""What every kind of `verify` shares: the request, progress, and batches that cannot be read."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.cli.printing import output
from replicator.errors import Undecided, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from replicator.engine.verify.compare import Views
    from replicator.engine.verify.pool import Progress, VerifyProgress
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec, Spec

_LINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What every kind of `verify` is asked for; `wait` is `wait_seconds` as the user wrote it."""

    spec: Spec
    flow: FlowSpec
    topics: tuple[str, ...]
    form: output.Format
    wait_seconds: float
    wait: str

    @property
    def source(self) -> ClusterSpec:
        """The flow's source."""
        return self.spec.cluster(self.flow.source)

    @property
    def target(self) -> ClusterSpec:
        """The flow's target."""
        return self.spec.cluster(self.flow.target)

    async def views(self) -> Views:
        """Return the offset maps of partitions whose offsets on the target differ from the source's."""
        from replicator.engine.verify.maps import map_views  # the wire package

        return await map_views(self.flow, self.source, self.target)

    def chosen(self, found: Mapping[str, str]) -> dict[str, str]:
        """Return the requested topics among those found on a cluster (source name -> target name).

        Raises:
            UsageError: One is not among them, or none was found at all.
        """
        for name in self.topics:
            if name not in found:
                raise unknown("topic", name, found, f"flow {self.flow.name}")
        if not found:
            raise UsageError(
                f"flow {self.flow.name} selects no topic of cluster {self.flow.source}",
                next_step="check topics.include, and this user's DESCRIBE right on the topics",
            )
        return {name: found[name] for name in self.topics or found}


def unknown(kind: str, name: str, known: Iterable[str], where: str) -> UsageError:
    """Return the error for an unknown name, with the known ones."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    some = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")  # noqa: PLR2004  # fits a line or two
    step = f"did you mean {near[0]}?" if near else f"there are: {some or 'none'}"
    return UsageError(f"no {kind} {name} in {where}", next_step=step)


def progress() -> AbstractContextManager[Progress]:
    """Show progress on standard error for the block: a bar on a terminal, lines elsewhere."""
    return _bar() if sys.stderr.isatty() else _lines()


def _lines() -> AbstractContextManager[Progress]:
    """Show progress as lines on standard error, one every five seconds."""
    from contextlib import nullcontext

    shown_seconds = 0.0

    def show(now: VerifyProgress) -> None:
        nonlocal shown_seconds
        if now.seconds - shown_seconds >= _LINE_SECONDS:
            shown_seconds = now.seconds
            output.note(_text(now))

    return nullcontext(show)


def _bar() -> AbstractContextManager[Progress]:
    """Show progress as a bar on standard error, removed at the end."""
    from contextlib import contextmanager

    from rich import progress as rich_progress
    from rich.console import Console

    @contextmanager
    def shown() -> Iterator[Progress]:
        columns = (rich_progress.BarColumn(), rich_progress.TextColumn("{task.description}"))
        with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("asking both clusters", total=None)

            def show(now: VerifyProgress) -> None:
                bar.update(task, total=now.offsets_total, completed=now.offsets_done, description=_text(now))

            yield show

    return shown()


def _text(now: VerifyProgress) -> str:
    rate = int(now.records / now.seconds) if now.seconds else 0
    share = 100 * now.offsets_done // now.offsets_total if now.offsets_total else 100
    return (
        f"{share} %, {output.number(now.records)} records, {output.number(rate)} records/s, "
        f"{now.partitions_done} of {now.partitions_total} partitions"
    )


def refuse_unread(unread: Sequence[tuple[str, int, str | None]], done: str = "compared") -> None:
    """Return if every batch of every partition could be read.

    Args:
        unread: Partitions with a batch that cannot be read: topic, number, and why.
        done: What could not be completed for them.

    Raises:
        Undecided: There is such a partition.
    """
    if unread:
        topic, partition, problem = unread[0]
        raise Undecided(
            f"{len(unread)} {'partition' if len(unread) == 1 else 'partitions'} cannot be fully {done}",
            why=f"{topic}-{partition}: {problem}",
            next_step=f"`kafka-console-consumer.sh --topic {topic} --partition {partition} --offset OFFSET "
            "--bootstrap-server ADDRESS` shows its content, on each side",
        )
