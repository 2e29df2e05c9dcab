"""Makes the corpus on a cluster that runs, topics named as their shapes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

from tests.integration.corpus import SHAPES, write
from tests.integration.corpus.segments import lay


class _Running(NamedTuple):
    bootstrap: str


def main() -> None:
    """Parse the arguments and write."""
    parser = argparse.ArgumentParser("python -m tests.integration.corpus", description=__doc__)
    parser.add_argument("--bootstrap", required=True, help="HOST:PORT,... of a plain-text listener")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="only this one; may be repeated")
    parser.add_argument("--prefix", default="", help="what names of topics begin with")
    parser.add_argument("--rounds", type=int, default=1, help="how often every shape's records are written")
    parser.add_argument(
        "--segments",
        type=Path,
        help="write the segment files of shapes that no client can write below this directory, one directory a "
        "partition: stop the broker, put them into the topic's (partition.metadata stays), and start it",
    )
    asked = parser.parse_args()
    cluster = _Running(asked.bootstrap)
    for name in asked.shape or SHAPES:
        shape, topic, began = SHAPES[name], f"{asked.prefix}{name}", time.monotonic()
        shape.begin(cluster, topic)
        if shape.segment is None:
            write(cluster, {topic: shape}, asked.rounds)
        elif asked.segments is not None:
            lay(asked.segments / f"{topic}-0", shape.segment())
        note = " (empty: its log has to be put in place as a segment file)" if shape.segment else ""
        print(f"{topic}: {time.monotonic() - began:.1f} s{note}")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
