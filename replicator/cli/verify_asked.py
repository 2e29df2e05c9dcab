"""What every kind of `verify` shares: what is asked for, progress, and batches that cannot be read."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.cli import output
from replicator.errors import Undecided, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from replicator.engine.verify.compare import Views
    from replicator.engine.verify.pool import VerifyProgress
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec, Spec

    Tell = Callable[[VerifyProgress], None]

_LINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What every kind of `verify` is asked for; `wait` is `wait_seconds` as it was written."""

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
        """Return where offsets stand on the target that are not the source's own."""
        from replicator.engine.verify.maps import map_views  # the wire package

        return await map_views(self.flow, self.source, self.target)

    def chosen(self, found: Mapping[str, str]) -> dict[str, str]:
        """Return the topics asked for, of those found on a cluster (source name -> target name).

        Raises:
            UsageError: One is not among them, or there is none at all.
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
    """Return the error for a name that is not known at some place, with those that are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    some = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")  # noqa: PLR2004  # fits a line or two
    step = f"did you mean {near[0]}?" if near else f"there are: {some or 'none'}"
    return UsageError(f"no {kind} {name} in {where}", next_step=step)


def progress() -> AbstractContextManager[Tell]:
    """Tell of progress on standard error for the block: a bar on a terminal, lines elsewhere."""
    return _bar() if sys.stderr.isatty() else _lines()


def _lines() -> AbstractContextManager[Tell]:
    """Tell of progress in lines on standard error, one in five seconds."""
    from contextlib import nullcontext

    told = 0.0

    def tell(now: VerifyProgress) -> None:
        nonlocal told
        if now.seconds - told >= _LINE_SECONDS:
            told = now.seconds
            output.note(_text(now))

    return nullcontext(tell)


def _bar() -> AbstractContextManager[Tell]:
    """Tell of progress with a bar on standard error, gone at the end."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    @contextmanager
    def shown() -> Iterator[Tell]:
        columns = (BarColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("asking both clusters", total=None)

            def tell(now: VerifyProgress) -> None:
                bar.update(task, total=now.offsets_total, completed=now.offsets_done, description=_text(now))

            yield tell

    return shown()


def _text(now: VerifyProgress) -> str:
    rate = int(now.records / now.seconds) if now.seconds else 0
    share = 100 * now.offsets_done // now.offsets_total if now.offsets_total else 100
    return (
        f"{share} %, {output.number(now.records)} records, {output.number(rate)} records/s, "
        f"{now.partitions_done} of {now.partitions_total} partitions"
    )


def refuse_unread(unread: Sequence[tuple[str, int, str | None]], done: str = "compared") -> None:
    """Return if no partition has a batch that cannot be read; of each its topic, its number, and why.

    Args:
        unread: Those that have one.
        done: What could not be done with them to their ends.

    Raises:
        Undecided: One has.
    """
    if unread:
        topic, partition, problem = unread[0]
        raise Undecided(
            f"{len(unread)} {'partition' if len(unread) == 1 else 'partitions'} cannot be {done} to the end",
            why=f"{topic}-{partition}: {problem}",
            next_step=f"`kafka-console-consumer.sh --topic {topic} --partition {partition} --offset OFFSET "
            "--bootstrap-server ADDRESS` shows what it holds, on each side",
        )
