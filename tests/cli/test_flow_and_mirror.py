"""Golden output of `flow` and `mirror`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from replicator.errors import PreflightFailed
from replicator.model.status.snapshots import DaemonStatus, FlowStatus, PartitionStatus, to_json
from replicator.model.status.states import FlowState, MirrorState, Reason
from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import DAEMON, EVENTS, NORTH, ORDERS

Terminal = Callable[[int], None]

STATUS_80 = """\
east-to-west: east -> west  ACTIVE  lag 812  rpo 3.2s  source seen 0.4s ago  epoch 7
TOPIC       STATE    REASON                  PARTITIONS  LAG  OFFSETS
orders.eu   ACTIVE   -                              1/2    -  identical
audit-2026  FAULTED  overtaken_by_retention         0/1  500  identical
audit-2026-0 FAULTED: overtaken_by_retention
  why:    the source deleted records before they were copied
  detail: source starts at 900, next to copy is 500
  next:   replicator mirror describe east-to-west audit-2026 --events
          replicator mirror resolve east-to-west audit-2026 --how recreate|skip
audit-2026-0 DIFFERENT: 3 records
  why:    source and target differ; the daemon's log names the first record
  next:   replicator verify east-to-west -c FILE --topic audit-2026
left out: 3 topics matched by a pattern in topics.include; to copy one, list its full name there
  heartbeats is named like an internal topic
  and 2 more (-o wide shows up to 100)

north-to-west: north -> west  PAUSED  (maintenance)

west-to-east: west -> east  run by another daemon
"""
LIST_80 = """\
FLOW           SOURCE  TARGET  STATE   LAG   RPO  SEEN  MIRRORS  FAULTED
east-to-west   east    west    ACTIVE  812  3.2s  0.4s      1/2        1
north-to-west  north   west    PAUSED    -     -     -        -        -
west-to-east   west    east    REMOTE    -     -     -        -        -
"""
LIST_140 = """\
FLOW           SOURCE  TARGET  STATE   LAG   RPO  SEEN  MIRRORS  FAULTED  REASON
east-to-west   east    west    ACTIVE  812  3.2s  0.4s      1/2        1  -
north-to-west  north   west    PAUSED    -     -     -        -        -  maintenance
west-to-east   west    east    REMOTE    -     -     -        -        -  -
"""
MIRRORS_140 = """\
FLOW          TOPIC       TARGET TOPIC     STATE    REASON                  PARTITIONS  LAG  OFFSETS    SEED ETA
east-to-west  orders.eu   orders.eu        ACTIVE   -                              1/2    -  identical         -
east-to-west  audit-2026  east.audit-2026  FAULTED  overtaken_by_retention         0/1  500  identical     1m35s
"""
DESCRIBE_140 = """\
east-to-west: east -> west  ACTIVE  lag 812  rpo 3.2s  source seen 0.4s ago  epoch 7
orders.eu -> orders.eu  ACTIVE
PART  STATE    REASON             SRC START    SRC END  TGT START    TGT END  LAG  OFFSETS    GUARD  HOLDER
   0  ACTIVE   -                          0  1,204,331          0  1,204,019  312  identical  on     west-1
   1  PENDING  waiting_for_doubt          -          -          -          -    -  -          -      -
"""
WAITING_80 = """\
east-to-west: east -> west  ACTIVE  lag unknown  rpo unknown  source not yet seen in full
TOPIC      TARGET TOPIC  STATE   REASON              PARTITIONS  LAG  OFFSETS
orders.eu  orders.eu     ACTIVE  waiting_for_access         2/2    -  -
orders.eu-0 ACTIVE: waiting_for_access
  why:    a right is missing; once it is granted, the copy goes on by itself
  detail: west does not allow Write on topic orders.eu; next: kafka-acls.sh ...
"""


@pytest.mark.parametrize(
    ("columns", "words", "golden"),
    [
        (80, "flow status", STATUS_80),
        (80, "flow list", LIST_80),
        (140, "flow list", LIST_140),
        (140, "mirror list", MIRRORS_140),
        (140, "mirror describe east-to-west orders.eu", DESCRIBE_140),
    ],
)
@pytest.mark.usefixtures("daemon")
def test_tables_fit_the_terminal(run: Run, terminal: Terminal, columns: int, words: str, golden: str) -> None:
    """A narrow terminal loses the least important columns, never a cell's end."""
    terminal(columns)

    assert run(*words.split()) == (0, golden, "")


def test_what_was_verified_is_shown_where_a_flow_verifies(run: Run, daemon: FakeDaemon, terminal: Terminal) -> None:
    """Through which offset, how long ago, how many differ; unknown is a dash, and no column says so in vain."""
    del daemon
    terminal(160)

    described = run("mirror", "describe", "east-to-west", "audit-2026").out.splitlines()

    assert described[2].endswith("GUARD  HOLDER  VERIFIED  VERIFIED AGE  DIFFER")
    assert described[3].endswith("off    -            480         1m17s       3")
    assert "audit-2026-0 DIFFERENT: 3 records" in described
    assert "VERIFIED" not in run("mirror", "describe", "east-to-west", "orders.eu").out
    found = json.loads(run("mirror", "describe", "east-to-west", "orders.eu", "-o", "json").out)
    assert found["mirror"]["partitions"][0]["verified_through"] is None


def test_a_missing_right_is_told_beside_the_state(run: Run, daemon: FakeDaemon, terminal: Terminal) -> None:
    """ACTIVE alone would hide it; the command that grants it is told once for the topic, and no other beside it."""
    detail = "west does not allow Write on topic orders.eu; next: kafka-acls.sh ..."
    waiting = tuple(PartitionStatus(at, MirrorState.ACTIVE, Reason.WAITING_FOR_ACCESS, detail) for at in range(2))
    orders = replace(ORDERS, reason=Reason.WAITING_FOR_ACCESS, detail=detail, partitions=waiting)
    flow = FlowStatus("east-to-west", "6f1c2a", "east", "west", FlowState.ACTIVE, mirrors=(orders,))
    daemon.status = replace(DAEMON, flows=(flow,))
    terminal(80)

    assert run("flow", "status") == (0, WAITING_80, "")
    assert "ACTIVE  waiting_for_access" in run("mirror", "list").out
    assert run("mirror", "describe", "east-to-west", "orders.eu").out.count(detail) == 1


def test_an_open_transaction_is_told_with_what_helps_and_a_fill_where_one_looks_closer(
    run: Run, daemon: FakeDaemon
) -> None:
    """Somebody may have to end the first; the second ends by itself, so `flow status` only names it."""
    held = PartitionStatus(0, MirrorState.ACTIVE, Reason.OPEN_TRANSACTION, "open; next: kafka-transactions.sh ...")
    fills = PartitionStatus(1, MirrorState.ACTIVE, Reason.FILLING, "filling 5,000 offsets without a record")
    orders = replace(ORDERS, reason=Reason.OPEN_TRANSACTION, partitions=(held, fills))
    flow = FlowStatus("east-to-west", "6f1c2a", "east", "west", FlowState.ACTIVE, mirrors=(orders,))
    daemon.status = replace(DAEMON, flows=(flow,))

    status, described = run("flow", "status").out, run("mirror", "describe", "east-to-west", "orders.eu").out

    assert "orders.eu-0 ACTIVE: open_transaction\n  why:    a transaction on the source is still open;" in status
    assert "  detail: open; next: kafka-transactions.sh ...\n" in status
    assert "filling" not in status
    assert described.count("next:") == 1
    assert described.endswith(
        "orders.eu-1 ACTIVE: filling\n"
        "  why:    the source has no records at many offsets; they are filled before the copy goes on\n"
        "  detail: filling 5,000 offsets without a record\n"
    )


@pytest.mark.usefixtures("daemon")
def test_a_pipe_gets_every_column_in_full(run: Run) -> None:
    """`grep` and `awk` see what a wide terminal shows."""
    assert run("flow", "list").out == LIST_140
    assert run("mirror", "list").out == MIRRORS_140
    assert "6f1c2a" in run("flow", "list", "-o", "wide").out


@pytest.mark.usefixtures("daemon")
def test_events_keep_their_text_on_a_narrow_terminal(run: Run, terminal: Terminal) -> None:
    """The sentence is folded, and no advice leads in a circle."""
    terminal(80)
    out = run("mirror", "describe", "east-to-west", "audit-2026", "--events").out

    assert all(len(line) <= 84 for line in out.splitlines())
    assert "ACTIVE -> FAULTED" in out
    assert "attached at 480" in out
    assert "next:   replicator mirror describe" not in out


@pytest.mark.usefixtures("daemon")
def test_json_is_the_contract(run: Run) -> None:
    """Every field of the snapshot, null for unknown, integers for offsets."""
    assert json.loads(run("flow", "status", "-o", "json").out) == json.loads(json.dumps(to_json(DAEMON)))
    one = json.loads(run("flow", "status", "north-to-west", "-o", "json").out)
    assert [flow["flow"] for flow in one["flows"]] == ["north-to-west"]
    assert one["flows"][0]["lag_records"] is None
    listed = json.loads(run("flow", "list", "-o", "json").out)
    assert listed["schema_version"] == 1
    assert "mirrors" not in listed["flows"][0]


@pytest.mark.usefixtures("daemon")
def test_yaml_says_the_same_as_json(run: Run) -> None:
    """One document, two spellings."""
    for words in ("flow status", "flow list", "mirror list", "mirror describe east-to-west orders.eu"):
        as_json = json.loads(run(*words.split(), "-o", "json").out)
        assert YAML(typ="safe").load(run(*words.split(), "-o", "yaml").out) == as_json


@pytest.mark.usefixtures("daemon")
def test_names_are_one_per_line(run: Run) -> None:
    """For loops in a shell."""
    assert run("flow", "list", "-o", "name").out == "east-to-west\nnorth-to-west\nwest-to-east\n"
    assert run("mirror", "list", "-o", "name").out == "east-to-west/orders.eu\neast-to-west/audit-2026\n"


@pytest.mark.usefixtures("daemon")
def test_described_events_are_in_the_document(run: Run) -> None:
    """Only with --events; null would read as none."""
    words = ("mirror", "describe", "east-to-west", "audit-2026", "-o", "json")

    assert "events" not in json.loads(run(*words).out)
    assert len(json.loads(run(*words, "--events").out)["events"]) == len(EVENTS)


def test_pause_and_resume_are_idempotent(run: Run, daemon: FakeDaemon) -> None:
    """A repeat exits 0 and says so; a dry run changes nothing."""

    def status(*words: str) -> str:
        result = run("flow", *words, "east-to-west", "-o", "json")
        assert result.code == 0
        return str(json.loads(result.out)["status"])

    assert status("pause", "--dry-run") == "would_pause"
    assert daemon.asked == []
    assert status("pause", "--reason", "patch") == "paused"
    assert daemon.asked[0][3] == "patch"
    assert "@" in daemon.asked[0][2]
    assert status("pause") == "already_paused"
    assert status("pause", "--dry-run") == "already_paused"
    assert status("resume", "--wait") == "resumed"
    assert status("resume") == "already_active"
    assert run("flow", "pause", "east-to-west").out == "east-to-west: paused\n"


def test_wait_ends_with_its_own_exit_code(run: Run, daemon: FakeDaemon) -> None:
    """The change stands, the wait does not go on forever."""
    daemon.obey = False
    result = run("flow", "pause", "east-to-west", "--wait", "--timeout", "10ms")

    assert result.code == 5
    assert "not yet PAUSED" in result.err
    assert result.out == ""


@pytest.mark.usefixtures("daemon")
def test_unknown_names_offer_the_nearest(run: Run) -> None:
    """Exit 2, and what was probably meant."""
    result = run("flow", "pause", "east-to-wset")
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'east-to-west'?" in result.err
    assert "did you mean 'orders.eu'?" in run("mirror", "describe", "east-to-west", "orders.us").err


def test_a_refusal_of_the_daemon_arrives_with_its_exit_code(run: Run, daemon: FakeDaemon) -> None:
    """What, why, next on standard error."""
    daemon.refuse = PreflightFailed("not now", why="it is late", next_step="sleep")

    assert run("flow", "pause", "east-to-west") == (3, "", "error: not now\nwhy: it is late\nnext: sleep\n")


def test_nothing_to_show_is_a_remark_not_data(run: Run, daemon: FakeDaemon) -> None:
    """Standard output stays empty for pipes."""
    daemon.status = replace(DAEMON, flows=())

    for words in ("flow list", "mirror list", "flow status"):
        result = run(*words.split())
        assert (result.code, result.out) == (0, "")
        assert result.err


def test_watch_prints_json_lines_until_the_daemon_ends(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare --watch has its default interval; off a terminal each picture is one line."""
    daemon.status = replace(DAEMON, flows=(NORTH,))

    looks, really = itertools.count(1), daemon.whole_snapshot

    async def whole_snapshot(flow: str | None) -> DaemonStatus:
        status = await really(flow)
        if next(looks) > 2:
            daemon.status = replace(DAEMON, flows=())
        return status

    monkeypatch.setattr(daemon, "whole_snapshot", whole_snapshot)
    # The watched flow goes away, which the daemon answers with an error: that ends this watch.
    result = run("flow", "status", "north-to-west", "-w", "500ms", "-o", "json")

    assert result.code == 2
    assert len(result.out.splitlines()) >= 2
    assert all(json.loads(line)["schema_version"] == 1 for line in result.out.splitlines())


@pytest.mark.parametrize("columns", [80, None], ids=["terminal", "pipe"])
def test_a_long_name_does_not_widen_a_table(
    run: Run, daemon: FakeDaemon, terminal: Terminal, columns: int | None
) -> None:
    """Both ends of it stay; the whole name is in -o wide and JSON."""
    name = "a" * 100 + "-" + "b" * 148
    mirror = replace(daemon.status.flows[0].mirrors[0], topic=name, target_topic=name)
    flow = replace(daemon.status.flows[0], mirrors=(mirror,), left_out=(), left_out_total=0)
    daemon.status = replace(daemon.status, flows=(flow,))
    if columns is not None:
        terminal(columns)
    shown = run("mirror", "list").out
    assert max(map(len, shown.splitlines())) < 220
    assert columns is not None or "a" * 32 + "…" + "b" * 31 in shown
    assert name not in shown
    assert name in "".join(run("mirror", "list", "-o", "json").out.split())
    assert columns is not None or name in run("mirror", "list", "-o", "wide").out


def test_topics_of_a_flow_that_is_not_up_are_not_none(run: Run, daemon: FakeDaemon) -> None:
    """Nobody knows which there are: neither "there are none" nor "no such topic"."""
    daemon.status = replace(DAEMON, flows=(NORTH,))
    told = "the topics of north-to-west are not known here; `replicator flow status` says why\n"
    assert run("mirror", "list").err == told
    described = run("mirror", "describe", "north-to-west", "orders")
    assert described.code != 0
    assert "the topics of flow 'north-to-west' are not known here" in described.err
    assert "maintenance" in described.err
    daemon.status = replace(DAEMON, flows=(replace(NORTH, flow_uid="6f1c2a"),))
    assert run("mirror", "list").err == "there are no mirrors\n"


def test_totals_that_not_all_daemons_told_are_unknown(run: Run, daemon: FakeDaemon) -> None:
    """A part of a sum is no sum."""
    assert "1,204,519" in run("flow", "list", "-o", "wide").out
    flows = tuple(replace(flow, totals=None) for flow in DAEMON.flows)
    daemon.status = replace(DAEMON, flows=flows)
    shown = run("flow", "list", "-o", "wide").out
    assert "1,204,519" not in shown
    assert json.loads(run("flow", "status", "-o", "json").out)["flows"][0]["totals"] is None
