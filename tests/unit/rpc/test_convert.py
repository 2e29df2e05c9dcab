"""Messages and model values say the same, field by field."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

import pytest
from google.protobuf.message import Message

from replicator import errors
from replicator.core.status.health import not_ready_because, unhealthy_because
from replicator.model.operations.translation import OffsetQuestion, Translation
from replicator.model.status.events import Desired, Event
from replicator.model.status.groups import GroupPartition, GroupStatus
from replicator.model.status.snapshots import (
    BrokerStatus,
    ClusterStatus,
    DaemonStatus,
    FlowStatus,
    FlowTotals,
    LeftOut,
    MirrorStatus,
    PartitionStatus,
    ShardStatus,
    to_json,
)
from replicator.model.status.states import FlowState, MirrorState
from replicator.model.switch.status import CutStatus, RestorationStatus, StepStatus, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import Verb
from replicator.model.words import is_known
from replicator.rpc.convert import faults, values
from replicator.rpc.convert import switch as convert_switch
from replicator.rpc.v1 import control_pb2 as pb
from tests.unit.rpc.samples import BILLING, DAEMON, EVENTS, PLAN, SHIPPING, SWITCH, TRANSLATIONS

MIRRORED = [
    (PartitionStatus, pb.PartitionStatus),
    (MirrorStatus, pb.MirrorStatus),
    (FlowTotals, pb.FlowTotals),
    (BrokerStatus, pb.BrokerStatus),
    (ClusterStatus, pb.ClusterStatus),
    (ShardStatus, pb.ShardStatus),
    (LeftOut, pb.LeftOut),
    (FlowStatus, pb.FlowStatus),
    (DaemonStatus, pb.DaemonStatus),
    (Event, pb.Event),
    (OffsetQuestion, pb.OffsetQuestion),
    (Translation, pb.Translation),
    (GroupStatus, pb.GroupStatus),
    (GroupPartition, pb.GroupPartition),
    (SwitchPlan, pb.SwitchPlan),
    (SwitchStatus, pb.Switch),
    (StepStatus, pb.Switch.Step),
    (CutStatus, pb.Switch.Cut),
    (RestorationStatus, pb.Switch.Restoration),
]


@pytest.mark.parametrize(("model", "message"), MIRRORED)
def test_messages_have_exactly_the_fields_of_the_model(model: type, message: type[Message]) -> None:
    """A field added to one side only would be lost silently."""
    assert set(message.DESCRIPTOR.fields_by_name) == {field.name for field in fields(model)}


@pytest.mark.parametrize(("model", "message"), MIRRORED)
def test_whatever_may_be_unknown_can_be_absent_on_the_wire(model: type, message: type[Message]) -> None:
    """Without presence an unknown number would arrive as 0, and an unknown word as an empty one."""
    hints = get_type_hints(model)
    unknowable = {name for name, hint in hints.items() if type(None) in get_args(hint)}
    described = message.DESCRIPTOR.fields_by_name
    assert {name for name in unknowable if not described[name].has_presence} == set()


def test_a_daemon_of_an_older_version_leaves_unknown_what_it_does_not_tell() -> None:
    """It sends none of what was added since."""
    first = pb.FlowStatus(flow="f", source="east", target="west", state="ACTIVE")
    first.mirrors.append(pb.MirrorStatus(topic="t", target_topic="t", state="ACTIVE"))
    first.mirrors[0].partitions.append(pb.PartitionStatus(partition=0, state="ACTIVE"))
    (flow,) = values.status_from_wire(pb.DaemonStatus(flows=[first])).flows
    assert (flow.lag_records, flow.rpo_seconds, flow.totals, flow.left_out_total) == (None, None, None, None)
    (one,) = flow.mirrors[0].partitions
    assert {getattr(one, each.name) for each in fields(one)} == {0, MirrorState.ACTIVE, None}


def test_switches_survive_the_wire() -> None:
    """Plans and journals, with and without what is not known."""
    for plan in (PLAN, SwitchPlan(Verb.FAILBACK)):
        sent = convert_switch.plan_to_wire(plan).SerializeToString()
        assert convert_switch.plan_from_wire(pb.SwitchPlan.FromString(sent)) == plan
    known: dict[str, Any] = {"groups_exact": 0, "groups_inexact": 0, "known_loss": 0}
    unknown: dict[str, Any] = {"ended_ms": None, "epoch": None, "known_tail": None, "observed_age_seconds": None}
    for switch in (
        SWITCH,
        replace(SWITCH, **unknown, **known),
        replace(SWITCH, **unknown | dict.fromkeys(known)),
    ):
        data = convert_switch.switch_to_wire(switch).SerializeToString()
        assert convert_switch.switch_from_wire(pb.Switch.FromString(data)) == switch


def test_a_snapshot_survives_the_wire() -> None:
    """Unknown stays None, zero stays zero, names become enums again."""
    data = values.status_to_wire(DAEMON).SerializeToString()

    assert values.status_from_wire(pb.DaemonStatus.FromString(data)) == DAEMON


def test_events_survive_the_wire() -> None:
    """Both sides see the same events."""
    assert tuple(values.event_from_wire(values.event_to_wire(event)) for event in EVENTS) == EVENTS


def test_translations_survive_the_wire() -> None:
    """No offset stays None, offset 0 stays 0."""
    zero = replace(TRANSLATIONS[0], source_offset=0, target_offset=0)
    for one in (*TRANSLATIONS, zero):
        assert values.translation_from_wire(values.translation_to_wire(one)) == one
    question = OffsetQuestion("orders", 3, 1 << 40)
    assert values.question_from_wire(values.question_to_wire(question)) == question


def test_groups_survive_the_wire() -> None:
    """Unknown stays None, 0 records to read again stay 0."""
    for one in (BILLING, SHIPPING):
        assert values.group_from_wire(values.group_to_wire(one)) == one
    message = values.group_to_wire(BILLING)
    message.kind = "swarm"
    shown = values.group_from_wire(message)
    assert (str(shown.kind), is_known(shown.kind), is_known(shown.state)) == ("swarm", False, True)


def test_a_state_of_a_newer_daemon_is_shown_as_it_says_it() -> None:
    """It broke the whole status of an older one, in the middle of an upgrade; it equals no state of ours."""
    message = values.status_to_wire(DAEMON)
    message.flows[0].state = "LEVITATING"
    message.flows[0].mirrors[0].state = "HOVERING"
    message.flows[0].mirrors[0].partitions[0].reason = "out_of_fuel"

    flow = values.status_from_wire(message).flows[0]
    assert (flow.state, is_known(flow.state)) == ("LEVITATING", False)
    assert flow.state not in set(FlowState)
    assert flow.mirrors[0].state == "HOVERING"
    assert str(flow.mirrors[0].partitions[0].reason) == "out_of_fuel"
    assert (unhealthy_because(flow, None), not_ready_because(flow)) != (None, None)
    assert values.status_to_wire(replace(DAEMON, flows=(flow,))).flows[0].state == "LEVITATING"
    assert json.loads(json.dumps(to_json(replace(DAEMON, flows=(flow,)))))["flows"][0]["state"] == "LEVITATING"


def test_desired_has_a_number_each_and_zero_is_refused() -> None:
    """An absent value never means ACTIVE."""
    for desired in Desired:
        assert values.desired_from_wire(values.desired_to_wire(desired)) is desired
    with pytest.raises(errors.NotAvailable):
        values.desired_from_wire(pb.DESIRED_UNSPECIFIED)


@pytest.mark.parametrize(
    "error",
    [
        errors.UsageError("what", why="why", next_step="next"),
        errors.ConfigError("what", problems=["a:1:2: x", "a:3:4: y"]),
        errors.Fenced("what"),
        errors.TimedOut("what"),
        errors.ConnectionFailed("what", cluster="east"),
        errors.BrokerRefused("what", cluster="east", code=29, api="Produce", retryable=True),
        errors.StateLost("what", cluster="west", code=3, api="Metadata", next_step="next", retryable=True),
        errors.AuthorizationFailed("what", cluster="east"),
        errors.NotAvailable("what"),
    ],
)
def test_errors_come_back_as_the_same_class_with_the_same_fields(error: errors.ReplicatorError) -> None:
    """The command line exits and speaks as if the error had happened in it."""
    back = faults.from_wire(faults.to_wire(error))

    assert type(back) is type(error)
    assert vars(back) == vars(error)


def test_an_error_class_of_a_newer_daemon_keeps_its_exit_code() -> None:
    """The nearest class we know stands in for it."""
    detail = pb.ErrorDetail(kind="QuorumLost", what="what", exit_code=4)

    assert type(faults.from_wire(detail.SerializeToString())) is errors.Conflict


def test_long_errors_fit_into_metadata() -> None:
    """Metadata above 8 KiB would replace the error by one about metadata."""
    error = errors.ConfigError("w" * 9000, problems=["p" * 9000] * 100, why="y" * 9000)

    assert len(faults.to_wire(error)) < 8192 + 2048


def test_every_error_class_has_a_way_across() -> None:
    """No class of the tree needs arguments the wire does not carry."""
    for name in faults._KINDS:
        detail = pb.ErrorDetail(kind=name, what="what", reason="fenced")
        assert type(faults.from_wire(detail.SerializeToString())).__name__ == name


@pytest.mark.parametrize("wrong", ["", "x\nforged", "x" * 65, "a b", "é"])
def test_a_request_id_is_a_plain_word(wrong: str) -> None:
    """It becomes the id of the switch, which stands in journals, tables and printed commands."""
    with pytest.raises(errors.UsageError, match="request id"):
        convert_switch.switch_request_from_wire(
            pb.StartSwitchRequest(flow="f", verb="failover", request_id=wrong)
        ).order("ann")


def test_a_reason_is_one_line_of_bounded_length() -> None:
    """It stands in the journal on both clusters for as long as that is kept."""
    request = pb.StartSwitchRequest(flow="f", verb="failover", request_id="1", reason="why\n" + "x" * 100_000)
    order = convert_switch.switch_request_from_wire(request).order("ann")
    assert order.reason.isprintable()
    assert len(order.reason) < 1_100
