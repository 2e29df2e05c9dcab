"""The first lines of the written file: where it comes from, what to set, and what has no counterpart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from replicator.config.lint.flows import shared_target_topic
from replicator.config.mm2.flows.flows import FlowDraft
from replicator.config.mm2.report import NAMED_IN_HEADER, UNNAMED, Fate, Row
from replicator.config.mm2.yaml_text import comment

_FIRST_RUN = (
    "A topic that MirrorMaker 2 has filled stops as `foreign_writer`, since its offsets differ from the source's.",
    "Stop MirrorMaker 2, then take it over with mapped offsets: replicator mirror resolve FLOW TOPIC --how accept",
    "To have the source's own offsets, start over: --how recreate, or choose another topics.rename.",
)
_LOOP = (
    "copy in both directions under the same names: every record would come back.",
    "Give each direction topics of its own, or use topics.rename, before you run it.",
)


def header(file: str, rows: Sequence[Row], variables: Mapping[str, str], flows: Sequence[FlowDraft]) -> Iterator[str]:
    """Yield the comment above the file, and an empty line."""
    yield "# yaml-language-server: $schema=./replicator.schema.json"
    yield comment(f"Written by `replicator import mm2` from {file}; `line N` is a line there.")
    yield "# Check it: replicator validate FILE --connect"
    yield "#"
    yield from (comment(line) for line in _FIRST_RUN)
    for one, other in _loops(flows):
        yield comment(f"{one} and {other} {_LOOP[0]}")
        yield comment(_LOOP[1])
    if variables:
        yield "#"
        yield "# Set these variables:"
        yield from (comment(f"  {name}: {why}") for name, why in variables.items())
    for title, fate in (("To be done by hand:", Fate.BY_HAND), ("Without a counterpart:", Fate.NONE)):
        yield from _listed(title, [row for row in rows if row.fate is fate and fate in NAMED_IN_HEADER])
    yield ""


def _listed(title: str, rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        yield "#"
        yield f"# {title}"
    for row in rows:
        yield comment(
            f"  line {row.line}: {row.key}: {row.text}" if row.key != UNNAMED else f"  line {row.line}: {row.text}"
        )


def _loops(flows: Sequence[FlowDraft]) -> Iterator[tuple[str, str]]:
    """Yield each pair of flows in opposite directions that do not rename and have a topic in common."""
    plain = [flow.spec for flow in flows if not flow.broken and flow.spec.rename.prefix is None]
    for at, one in enumerate(plain):
        for other in plain[:at]:
            opposite = (one.source, one.target) == (other.target, other.source)
            if opposite and shared_target_topic(one, other) is not None:
                yield other.name, one.name
