"""Golden output of `group list` and `group describe`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import BILLING

LIST = """\
GROUP     KIND      STATE           ON SOURCE  ON TARGET  REREAD   AGE  DETAIL
billing   consumer  not_translated  Stable     Empty           -  6.5s  not_yet_replicated: 500 records behind
shipping  classic   in_step         Stable     Empty          12  1.2s  -
"""
LIST_60 = """\
GROUP     STATE           ON SOURCE  ON TARGET  REREAD   AGE
billing   not_translated  Stable     Empty           -  6.5s
shipping  in_step         Stable     Empty          12  1.2s
"""
DESCRIBE = """\
billing  consumer  not_translated  source Stable  target Empty  would reread -  applied as of 6.5s ago
TOPIC       TARGET TOPIC     PART  STATE              SOURCE     TARGET  REREAD  DETAIL
orders.eu   orders.eu           0  in_step         1,204,000  1,204,003       0  -
audit-2026  east.audit-2026     0  not_translated      1,000          -       -  not_yet_replicated: 500 records behind
2 more commits are for topics that this flow does not mirror: left alone
  why:    not_yet_replicated: 500 records behind
  next:   replicator offsets translate east-to-west --group billing
"""
FLOW = "east-to-west"


@pytest.mark.usefixtures("daemon")
def test_the_list_says_what_would_be_read_again(run: Run) -> None:
    """In a pipe with all columns."""
    assert run("group", "list", FLOW) == (0, LIST, "")


@pytest.mark.usefixtures("daemon")
def test_a_narrow_terminal_keeps_states_and_what_would_be_read_again(run: Run, terminal: Callable[[int], None]) -> None:
    """Names, states and REREAD are never dropped."""
    terminal(60)

    assert run("group", "list", FLOW) == (0, LIST_60, "")


def test_what_all_groups_wait_for_goes_to_standard_error(run: Run, daemon: FakeDaemon) -> None:
    """Data alone goes to standard output; JSON carries it."""
    daemon.groups_wait_for = "groups wait until what the source held is copied: audit-2026-0"

    assert run("group", "list", FLOW) == (0, LIST, f"{daemon.groups_wait_for}\n")
    assert json.loads(run("group", "list", FLOW, "-o", "json").out)["detail"] == daemon.groups_wait_for


@pytest.mark.usefixtures("daemon")
def test_one_group_with_its_partitions(run: Run) -> None:
    """Where it stands on both sides, why it is held back, and what helps."""
    assert run("group", "describe", FLOW, "billing") == (0, DESCRIBE, "")


@pytest.mark.usefixtures("daemon")
def test_json_says_the_same_as_yaml(run: Run) -> None:
    """Integers for offsets, null for none; a list has no partitions."""
    document = json.loads(run("group", "list", FLOW, "-o", "json").out)
    assert (document["schema_version"], document["flow"], document["detail"]) == (1, FLOW, None)
    assert [group["group"] for group in document["groups"]] == ["billing", "shipping"]
    assert "partitions" not in document["groups"][0]
    assert YAML(typ="safe").load(run("group", "list", FLOW, "-o", "yaml").out) == document

    one = json.loads(run("group", "describe", FLOW, "billing", "-o", "json").out)["group"]
    assert (one["kind"], one["reread_records"], one["unmirrored"]) == ("consumer", None, 2)
    assert one["partitions"][1] == {
        "topic": "audit-2026",
        "target_topic": "east.audit-2026",
        "partition": 0,
        "state": "not_translated",
        "source_offset": 1000,
        "target_offset": None,
        "reread_records": None,
        "detail": "not_yet_replicated: 500 records behind",
    }
    assert run("group", "list", FLOW, "-o", "name").out == "billing\nshipping\n"
    assert run("group", "describe", FLOW, "billing", "-o", "name").out == "billing\n"


HOSTILE = "inj;touch x\x1b[2J\nforged  consumer  in_step"
SHOWN = r"inj;touch x\x1b[2J\nforged  consumer  in_step"


def test_an_id_stays_in_its_cell(run: Run, daemon: FakeDaemon) -> None:
    """A group's id is any text: it forges no row, moves no cursor, and a printed command quotes it."""
    daemon.groups_found = (replace(BILLING, group=HOSTILE, detail=f"group {HOSTILE} has members"),)

    listed = run("group", "list", FLOW).out
    assert listed.count("\n") == 2
    assert SHOWN in listed
    assert run("group", "list", FLOW, "-o", "name").out == f"{SHOWN}\n"
    assert run("group", "describe", FLOW, HOSTILE, "-o", "name").out == f"{SHOWN}\n"
    described = run("group", "describe", FLOW, HOSTILE).out
    assert described.startswith(f"{SHOWN}  consumer")
    assert "\x1b" not in described + listed
    assert r"--group $'inj;touch x\x1b[2J\x0aforged  consumer  in_step'" in described
    assert json.loads(run("group", "list", FLOW, "-o", "json").out)["groups"][0]["group"] == HOSTILE
    daemon.groups_found = (replace(BILLING, group=f"{HOSTILE}\u202e", detail="turned \u202egnp"),)
    told = run("group", "list", FLOW, "-o", "yaml").out
    assert not {"\x1b", "\u202e"} & set(told)
    assert YAML(typ="safe").load(told)["groups"][0]["group"] == f"{HOSTILE}\u202e"


@pytest.mark.usefixtures("daemon")
def test_what_cannot_be_meant(run: Run) -> None:
    """An unknown group names the nearest one, an unknown flow too; a flow without groups says so."""
    unknown = run("group", "describe", FLOW, "biling")
    assert unknown.code == 2
    assert "did you mean 'billing'?" in unknown.err
    assert run("group", "list", "east-to-wst").code == 2
    assert run("group", "list", "north-to-west") == (0, "", "no group follows this flow\n")
