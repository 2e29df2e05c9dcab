"""`switchover`, `failover`, `failback` and `switch`: told first, asked, ordered, followed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from replicator.cli.switch import follow, views
from replicator.core.switch.orders import begin
from replicator.core.switch.plan import status_of
from replicator.errors import Conflict, ConnectionFailed, PreflightFailed, TimedOut, UsageError
from replicator.model.switch.journal import Switches
from replicator.model.switch.status import BothSides, CutStatus, StepStatus, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import Close, Outcome, SwitchOrder, Verb
from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import SIDES, SWITCH

FLOW = "east-to-west"


def test_a_dry_run_tells_and_orders_nothing(run: Run, daemon: FakeDaemon) -> None:
    """Steps, up to where it can be undone, and the loss with its age."""
    told = run("failover", FLOW, "--dry-run")
    assert told.code == 0
    assert "1. look whether it can be carried through" in told.out
    assert "up to here" in told.out
    assert "loss if done now: at least 5 offsets, as seen 2.5s ago" in told.out
    assert "orders-1: 2" in told.out
    assert "for 1 partitions the source's end was never seen" in told.out
    assert "topics (2): orders, payments" in told.out
    assert "left out: audit was deleted on its source" in told.out
    document = json.loads(run("switchover", FLOW, "--dry-run", "-o", "json").out)
    assert document["plan"]["topics"] == ["orders", "payments"]
    assert document["plan"]["left_out"] == [{"topic": "audit", "why": "was deleted on its source"}]
    assert document["status"] == "would_switchover"
    assert document["plan"]["lossy"][0] == {"topic": "orders", "partition": 0, "offsets": 3}
    assert daemon.switched == []


def test_a_loss_that_nobody_knows_is_not_none(run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of no partition the source's end was seen, before the switch and at its cut."""

    async def plan(_flow: str, order: SwitchOrder) -> SwitchPlan:
        return SwitchPlan(order.verb, known_loss=0, unseen=4)

    monkeypatch.setattr(daemon, "plan_switch", plan)
    told = run("failover", FLOW, "--dry-run").out
    assert "loss if done now: not known\n" in told
    assert "for 4 partitions the source's end was never seen" in told
    monkeypatch.undo()


def test_a_cut_without_a_view_of_the_source_tells_no_loss(capsys: pytest.CaptureFixture[str]) -> None:
    """One that was seen counts, also where a daemon of an older version does not send a 0."""
    lost = replace(SWITCH, verb=Verb.FAILOVER, known_loss=None)
    views.outcome(replace(lost, cuts=(CutStatus("orders", "orders", 0, 100, 101),)))
    assert "cut: 1 partitions, loss not known\n" in capsys.readouterr().out
    views.outcome(replace(lost, cuts=(CutStatus("orders", "orders", 0, 100, 101, 100, 0),)))
    assert "cut: 1 partitions, 0 offsets are lost as far as is known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "helps"), [(("switchover", FLOW), "--yes"), (("failover", FLOW), f"--confirm {FLOW}")]
)
def test_nobody_to_ask_is_no_consent(run: Run, daemon: FakeDaemon, words: tuple[str, ...], helps: str) -> None:
    """Without a terminal only the option orders it."""
    refused = run(*words)
    assert refused.code == PreflightFailed.exit_code
    assert helps in refused.err
    assert run("failover", FLOW, "--confirm", "another").code == UsageError.exit_code
    assert daemon.switched == []


def test_an_order_and_the_same_again(run: Run, daemon: FakeDaemon) -> None:
    """What was wanted goes along; the second one does nothing and says so."""
    words = ("switchover", FLOW, "--producers-stopped", "--reverse", "--yes", "--reason", "drill", "--timeout", "90s")
    done = run(*words)
    assert done.code == 0, done.err
    assert "done  stop copying" in done.out
    assert "consumer groups: 4 exact, 1 not" in done.out
    assert "billing: the group has members on the target" in done.out
    ((flow, order),) = daemon.switched
    assert (flow, order.verb, order.reason) == (FLOW, Verb.SWITCHOVER, "drill")
    assert order.options.close is Close.STATED
    assert order.options.reverse_flow
    assert order.options.timeout_ms == 90_000
    assert "already done" in run(*words).out
    assert [entry.method for entry in daemon.audit.entries if entry.phase == "outcome"] == ["StartSwitch"] * 2


def test_what_forbids_it_is_told(run: Run, daemon: FakeDaemon) -> None:
    """All of it, and nothing is ordered."""
    daemon.problems = ("orders stands still (fenced): look at it", "the source cannot be reached")
    refused = run("switchover", FLOW, "--yes")
    assert refused.code == PreflightFailed.exit_code
    for problem in daemon.problems:
        assert f"refused: {problem}" in refused.out
    assert daemon.switched == []
    daemon.problems, daemon.refuse = (), Conflict("another switch is running", next_step="replicator switch status")
    assert run("failback", FLOW, "--yes").code == Conflict.exit_code


def test_status_and_history(run: Run, daemon: FakeDaemon) -> None:
    """The last one in full, all of them one line each."""
    assert "was never switched" in run("switch", "status", FLOW).err
    run("failover", FLOW, "--confirm", FLOW)
    shown = run("switch", "status", FLOW, "-o", "wide")
    assert f"failover {daemon.switched[0][1].id} of {FLOW} is done" in shown.out
    assert "5 offsets are lost as far as is known" in shown.out
    assert "tail of the old source (the exact loss): 7 offsets" in shown.out
    assert "103" in shown.out
    document = json.loads(run("switch", "status", FLOW, "-o", "json").out)["switch"]
    assert document["ended_at"] == "2026-07-14T03:33:24.500+00:00"
    assert document["cuts"][0]["tail"] == 7
    assert document["left_out"] == [{"topic": "audit", "why": "was switched alone"}]
    assert "4.5s" in run("switch", "history", FLOW).out
    assert run("switch", "history", FLOW, "-o", "name").out.split() == [daemon.switched[0][1].id]


def test_a_switch_that_was_replaced_is_not_waited_for(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover took over from it: it is no more, and whoever waits is told by whom."""

    def replaced(flow: str) -> list[SwitchStatus]:
        id_ = daemon.switched[0][1].id
        return [replace(SWITCH, id="f1", verb=Verb.FAILOVER, flow=flow, replaces=id_, actor="ann", reason="fire")]

    monkeypatch.setattr(daemon, "switches", replaced)
    waited = run("switchover", FLOW, "--yes")
    assert waited.code == Conflict.exit_code
    assert "was replaced by failover f1" in waited.err
    assert "ann ordered it: fire" in waited.err


def test_a_failover_that_takes_over_tells_from_which_switchover() -> None:
    """By the journal itself: whoever waits for the switchover finds it there."""
    running = begin(Switches(), SwitchOrder("s1", Verb.SWITCHOVER), promoted=False, now_ms=0).switches
    over = begin(running, SwitchOrder("f1", Verb.FAILOVER, actor="ann"), promoted=False, now_ms=1).switches
    shown = [status_of(journal, names=("east", "west")) for journal in over.all]
    assert [(one.id, one.replaces) for one in shown] == [("f1", "s1")]
    with pytest.raises(Conflict, match=r"switchover s1 of .* was replaced by failover f1"):
        follow._found(shown, "s1")


def test_the_other_side_is_waited_for(run: Run, daemon: FakeDaemon) -> None:
    """Done is not enough: one side is open and the other one follows, or it is told what keeps it."""
    words = ("switchover", FLOW, "--reverse", "--yes", "--timeout", "1s")
    assert "west is open, and the other side follows: east-to-west is SWITCHED_OVER" in run(*words).out
    daemon.switched.clear()
    daemon.sides = replace(SIDES, waits_for="flow 'west-to-east' is paused")
    late = run(*words)
    assert late.code == TimedOut.exit_code
    assert "west is open; flow 'west-to-east' is paused" in late.err
    daemon.switched.clear()
    daemon.sides = replace(SIDES, open_side="east")
    assert run(*words).code == Conflict.exit_code


def test_a_cluster_that_does_not_answer_for_a_moment(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the other side asks again, and is told no lie meanwhile."""
    silent = [ConnectionFailed("east does not answer", cluster="east")] * 2

    async def sides(_flow: str, _switch_id: str) -> BothSides:
        if silent:
            raise silent.pop()
        return SIDES

    monkeypatch.setattr(daemon, "both_sides", sides)
    done = run("switchover", FLOW, "--reverse", "--yes")
    assert done.code == 0, done.err
    assert "the other side follows" in done.out


def test_the_way_back_is_followed_on_the_other_cluster(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switchover that a failback orders is told by the daemon that was asked, and so is its failing."""
    steps = (*SWITCH.steps, StepStatus("switch_back", "order a switchover", 1_784_000_004_100))
    ordered = daemon.switches

    def done(flow: str) -> list[SwitchStatus]:
        return [replace(one, steps=steps) for one in ordered(flow)]

    async def sides(_flow: str, switch_id: str) -> BothSides:
        back = replace(SWITCH, id=f"{switch_id}-back", flow="west-to-east", outcome=outcomes.pop(0))
        return BothSides((back,), SIDES.states, "east" if back.outcome is Outcome.DONE else "west")

    monkeypatch.setattr(daemon, "switches", done)
    monkeypatch.setattr(daemon, "both_sides", sides)
    outcomes = [Outcome.RUNNING, Outcome.DONE, Outcome.DONE]
    back = run("failback", FLOW, "--yes")
    assert back.code == 0, back.err
    assert "of west-to-east is done" in back.out
    assert "east is open, and the other side follows" in back.out
    daemon.switched.clear()
    outcomes = [Outcome.RUNNING, Outcome.ABORTED]
    undone = run("failback", FLOW, "--yes")
    assert undone.code == PreflightFailed.exit_code
    assert "west is open" in undone.err

    async def replaced(_flow: str, switch_id: str) -> BothSides:
        taken = replace(SWITCH, id="f1", verb=Verb.FAILOVER, flow="west-to-east", replaces=f"{switch_id}-back")
        return BothSides((taken,), SIDES.states, "east")

    daemon.switched.clear()
    monkeypatch.setattr(daemon, "both_sides", replaced)
    gone = run("failback", FLOW, "--yes", "--timeout", "1s")
    assert gone.code == Conflict.exit_code
    assert "of 'west-to-east' was replaced by failover f1" in gone.err


@pytest.mark.parametrize("beside", ["--dry-run", "--append", "--stay", "--inexact-groups", "--topics=orders"])
def test_an_agreement_stands_alone(run: Run, daemon: FakeDaemon, beside: str) -> None:
    """It cannot be tried out, and changes nothing of what was ordered: a tail that was to stay would be deleted."""
    refused = run("failback", FLOW, "--confirm", "digest", beside)
    assert refused.code == UsageError.exit_code
    assert f"replicator switch status {FLOW}" in refused.err
    assert daemon.switched == []


@pytest.mark.usefixtures("daemon")
def test_an_agreement_is_not_waited_for(run: Run) -> None:
    """With the option it returns as soon as it was given, as any other order."""
    given = run("failback", FLOW, "--confirm", "digest", "--no-wait")
    assert given.code == 0, given.err
    assert "is under way" in given.out


@pytest.mark.usefixtures("daemon")
def test_abort(run: Run) -> None:
    """With the reason; giving the target up is asked about."""
    undone = run("switch", "abort", FLOW, "--reason", "not today")
    assert undone.code == 0
    assert "was undone" in undone.out
    assert "not today" in undone.out
    assert run("switch", "abort", FLOW, "--target-lost").code == PreflightFailed.exit_code
    assert "the source is open again" in run("switch", "abort", FLOW, "--target-lost", "--yes").out


@pytest.mark.parametrize("columns", ["60", "80"])
def test_narrow_terminals(run: Run, monkeypatch: pytest.MonkeyPatch, daemon: FakeDaemon, columns: str) -> None:
    """Tables fit."""
    monkeypatch.setenv("COLUMNS", columns)
    run("failover", FLOW, "--confirm", FLOW)
    assert daemon.switched
    assert all(len(line) <= int(columns) for line in run("switch", "history", FLOW).out.splitlines())


def test_a_reason_forges_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does who ordered it, nor what a cluster said: a journal may be of a version that took any text."""
    evil = "x\n  done  record that west is the open side\x1b[2J\u202e"
    steps = (StepStatus("preflight", evil, 1),)
    forged = replace(SWITCH, steps=steps, id=evil, actor=evil, reason=evil, stopped_by=evil, waits_for=evil)
    views.status(forged, wide=True)
    out = capsys.readouterr().out
    assert not any(line.startswith("  done  record that") for line in out.splitlines())
    assert not {"\x1b", "\u202e"} & set(out)
    assert out.count(r"\u202e") >= 6
