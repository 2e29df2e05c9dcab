"""`replicator verify --continuous`: compares new records, round after round, until something differs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from replicator.cli.printing import output
from replicator.cli.printing.output import Format
from replicator.cli.verify.request import Asked
from replicator.engine.verify.compare import flow_topics
from replicator.engine.verify.follow import Followed, Follower, Round
from replicator.errors import Unequal


def run(asked: Asked, round_seconds: float) -> None:
    """Print a line per round; as JSON or YAML a document with every partition. Ends only on Ctrl-C, or by raising.

    Raises:
        Unequal: A record differs.
        KafkaError: A cluster cannot be read.
    """
    asyncio.run(_follow(asked, round_seconds))


async def _follow(asked: Asked, round_seconds: float) -> None:
    async def topics() -> dict[str, str]:
        return asked.chosen(await flow_topics(asked.source, asked.flow, asked.target))

    follower = Follower(
        asked.source, asked.target, topics, asked.flow.isolation, round_seconds=round_seconds, load_views=asked.views
    )
    shown: tuple[str, ...] = ()
    async with aclosing(follower.rounds()) as rounds:
        async for found in rounds:
            if found.problems != shown:
                shown = found.problems
                for problem in shown:
                    output.note(f"not compared: {problem}")
            _print(found, asked.form)
            _judge(found, asked)


def _print(found: Round, form: Format) -> None:
    if form in {Format.JSON, Format.YAML}:
        output.document(form, _to_json(found), stream=True)
        return
    verified = sum(part.through or 0 for part in found.partitions)
    behind = f", target {output.number(found.behind)} behind" if found.behind else ""
    output.line(
        f"verified through {output.number(verified)} of {output.number(verified + found.left)} offsets in "
        f"{len(found.partitions)} partitions, age {output.age(found.age_seconds)}, "
        f"{output.number(found.differences)} differences{behind}"
    )


def _judge(found: Round, asked: Asked) -> None:
    if found.first is None:
        return
    where, first = found.first
    raise Unequal(
        f"{output.number(found.differences)} records differ",
        why=f"{where}@{first.offset} {first.kind}: {first.detail}",
        next_step=f"`replicator verify {asked.flow.name} -c {asked.spec.path}` compares everything",
    )


def _to_json(found: Round) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "verified_age_seconds": _seconds(found.age_seconds),
        "verify_differences": found.differences,
        "left": found.left,
        "behind": found.behind,
        "problems": list(found.problems),
        "partitions": [_partition(part) for part in found.partitions],
    }


def _partition(part: Followed) -> dict[str, Any]:
    return {
        "topic": part.where.topic,
        "partition": part.where.partition,
        "verified_through": part.through,
        "verified_age_seconds": _seconds(part.age_seconds),
        "verify_differences": part.differences,
        "end": part.end,
        "behind": part.behind,
    }


def _seconds(age: float | None) -> float | None:
    return None if age is None else round(age, 3)
