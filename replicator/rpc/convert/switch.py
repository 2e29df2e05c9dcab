"""Switches: protobuf to model and back (see `values`, which has the rest)."""

from __future__ import annotations

from replicator.control.requests import REVERSE_WANTED, SwitchRequest
from replicator.model.switch.status import BothSides, CutStatus, RestorationStatus, StepStatus, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import Close, Direction, Options, Outcome, SwitchOrder, Verb
from replicator.rpc.convert.values import name_of, read, shallow
from replicator.rpc.v1 import control_pb2 as pb


def switch_order_to_wire(
    order: SwitchOrder, *, dry_run: bool, expected_epoch: int | None = None
) -> pb.StartSwitchRequest:
    """Return the message of what an operator wants."""
    options = order.options
    return pb.StartSwitchRequest(
        flow=order.flow,
        verb=order.verb,
        topics=order.topics,
        producers_stopped=options.close is Close.STATED,
        reverse=bool(options.reverse_flow),
        inexact_groups=not options.groups_exact,
        append=options.append,
        stay=not options.switch_back,
        timeout_ms=options.timeout_ms,
        actor=order.actor,
        reason=order.reason,
        request_id=order.id,
        expected_epoch=expected_epoch,
        dry_run=dry_run,
    )


def switch_request_from_wire(request: pb.StartSwitchRequest) -> SwitchRequest:
    """Return an operator's order, unchecked."""
    defaults = Options()
    options = Options(
        close=Close.STATED if request.producers_stopped else Close.LOCK,
        reverse_flow=REVERSE_WANTED if request.reverse else "",
        groups_exact=not request.inexact_groups,
        timeout_ms=request.timeout_ms or defaults.timeout_ms,
        append=request.append,
        switch_back=not request.stay,
    )
    return SwitchRequest(
        request.flow,
        request.verb,
        request.request_id,
        request.topics,
        options,
        request.reason,
        request.expected_epoch if request.HasField("expected_epoch") else None,
    )


def plan_to_wire(plan: SwitchPlan) -> pb.SwitchPlan:
    """Return the message of what an order would do."""
    return pb.SwitchPlan(
        **shallow(plan, "lossy", "left_out", "foreign"),
        left_out=[pb.LeftOut(topic=topic, why=why) for topic, why in plan.left_out],
        lossy=_partitions(plan.lossy),
        foreign=_partitions(plan.foreign),
    )


def _partitions(some: tuple[tuple[str, int, int], ...]) -> list[pb.SwitchPlan.Loss]:
    return [pb.SwitchPlan.Loss(topic=topic, partition=partition, offsets=offsets) for topic, partition, offsets in some]


def plan_from_wire(message: pb.SwitchPlan) -> SwitchPlan:
    """Return what an order would do.

    Raises:
        NotAvailable: It holds a verb this version does not know.
    """
    return read(
        SwitchPlan,
        message,
        verb=name_of(Verb, message.verb),
        steps=tuple(message.steps),
        problems=tuple(message.problems),
        lossy=tuple((one.topic, one.partition, one.offsets) for one in message.lossy),
        topics=tuple(message.topics),
        left_out=tuple((one.topic, one.why) for one in message.left_out),
        foreign=tuple((one.topic, one.partition, one.offsets) for one in message.foreign),
    )


def switch_to_wire(switch: SwitchStatus) -> pb.Switch:
    """Return the message of one switch."""
    return pb.Switch(
        **shallow(switch, "steps", "cuts", "restorations", "left_out"),
        left_out=[pb.LeftOut(topic=topic, why=why) for topic, why in switch.left_out],
        steps=[pb.Switch.Step(**shallow(step)) for step in switch.steps],
        cuts=[pb.Switch.Cut(**shallow(cut)) for cut in switch.cuts],
        restorations=[pb.Switch.Restoration(**shallow(one)) for one in switch.restorations],
    )


def sides_to_wire(sides: BothSides) -> pb.GetSwitchResponse.Sides:
    """Return the message of how a switch left both sides."""
    return pb.GetSwitchResponse.Sides(
        reverse=[switch_to_wire(one) for one in sides.reverse],
        states=[pb.GetSwitchResponse.State(flow=flow, state=state) for flow, state in sides.states],
        open_side=sides.open_side,
        waits_for=sides.waits_for,
    )


def sides_from_wire(message: pb.GetSwitchResponse.Sides) -> BothSides:
    """Return how a switch left both sides.

    Raises:
        NotAvailable: It holds a word this version does not know.
    """
    return BothSides(
        tuple(switch_from_wire(one) for one in message.reverse),
        tuple((one.flow, one.state) for one in message.states),
        message.open_side,
        message.waits_for,
    )


def switch_from_wire(message: pb.Switch) -> SwitchStatus:
    """Return the switch of a message.

    Raises:
        NotAvailable: It holds a word this version does not know.
    """
    return read(
        SwitchStatus,
        message,
        verb=Verb.read(message.verb),
        outcome=Outcome.read(message.outcome),
        direction=Direction.read(message.direction),
        topics=tuple(message.topics),
        left_out=tuple((one.topic, one.why) for one in message.left_out),
        groups_detail=tuple(message.groups_detail),
        steps=tuple(read(StepStatus, step) for step in message.steps),
        cuts=tuple(read(CutStatus, cut) for cut in message.cuts),
        restorations=tuple(read(RestorationStatus, one) for one in message.restorations),
    )
