"""Converts between values about a flow's lineage and their messages."""

from __future__ import annotations

from replicator.model.operations.lineage import Bounds, Difference, LogComparison, LogStanding, RepointReport
from replicator.rpc.v1 import control_pb2 as pb


def repoint_to_wire(report: RepointReport) -> pb.RepointResponse:
    """Return the message of what moving a flow means."""
    return pb.RepointResponse(
        flow=report.flow,
        source=report.source,
        to=report.to,
        status=report.status,
        goes_on=report.goes_on,
        to_copy=report.to_copy,
        stopped=map(comparison_to_wire, report.stopped),
        stopped_count=report.stopped_count,
    )


def repoint_from_wire(message: pb.RepointResponse) -> RepointReport:
    """Return what moving a flow means."""
    return RepointReport(
        message.flow,
        message.source,
        message.to,
        message.status,
        message.goes_on,
        message.to_copy,
        tuple(map(comparison_from_wire, message.stopped)),
        message.stopped_count,
    )


def comparison_to_wire(one: LogComparison) -> pb.LogComparison:
    """Return the message of how two logs compare."""
    found = one.difference
    return pb.LogComparison(
        topic=one.topic,
        partition=one.partition,
        standing=one.standing,
        our_start=one.ours.start if one.ours is not None else None,
        our_end=one.ours.end if one.ours is not None else None,
        their_start=one.theirs.start if one.theirs is not None else None,
        their_end=one.theirs.end if one.theirs is not None else None,
        differs_at=found.offset if found is not None else None,
        our_ms=found.ours_ms if found is not None else None,
        their_ms=found.theirs_ms if found is not None else None,
        why=one.why,
    )


def comparison_from_wire(message: pb.LogComparison) -> LogComparison:
    """Return how two logs compare; a word of a newer version reads as unknown."""
    known = message.standing in set(LogStanding)
    difference = Difference(
        message.differs_at,
        message.our_ms if message.HasField("our_ms") else None,
        message.their_ms if message.HasField("their_ms") else None,
    )
    return LogComparison(
        message.topic,
        message.partition,
        LogStanding(message.standing) if known else LogStanding.UNKNOWN,
        Bounds(message.our_start, message.our_end) if message.HasField("our_end") else None,
        Bounds(message.their_start, message.their_end) if message.HasField("their_end") else None,
        difference if message.HasField("differs_at") else None,
        message.why if known else f"{message.standing} (a word of a newer version)",
    )
