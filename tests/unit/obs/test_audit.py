"""The audit log: whole, or said to be broken, whatever happens to its files."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from replicator.core.acl.audit_chain import Chain, Line, decode, encode, verify
from replicator.errors import StoreError, StoreFull, Unequal
from replicator.model.operations.audit import AuditEntry, Phase
from replicator.obs import audit
from replicator.obs.audit import REFUSALS, Audit, AuditLog, files_of, lines_of

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def entry(text: str = "because", phase: Phase = Phase.INTENT, call: int = 0) -> AuditEntry:
    """Return a change."""
    return AuditEntry(0, "", phase, call, actor="ann", method="SetDesired", flow="f", reason=text, after="PAUSED")


def written(directory: Path, count: int, file_bytes_max: int = 1 << 20) -> list[Path]:
    """Write a log and return its files."""
    log = AuditLog(directory, file_bytes_max)
    for number in range(count):
        assert log.append(entry(f"nr {number}")) == number + 1
    log.close()
    return files_of(directory)


def chain(directory: Path) -> Chain:
    """Follow the log."""
    return verify(lines_of(files_of(directory)))


def test_it_goes_on_after_a_restart_and_over_files(tmp_path: Path) -> None:
    """Numbers and hashes follow from file to file; only this user can read them."""
    written(tmp_path, 5, 300)
    files = written_on(tmp_path, 5)
    assert len(files) > 1
    found = chain(tmp_path)
    assert (found.first_seq, found.last_seq, found.torn) == (1, 10, 0)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert verify(lines_of(files[1:])).last_hash == found.last_hash, "old files may be kept elsewhere"


def written_on(directory: Path, count: int) -> list[Path]:
    """Go on with a log."""
    log = AuditLog(directory, 300)
    for _ in range(count):
        log.append(entry())
    log.close()
    return files_of(directory)


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    """Of every line but the last one, whose hash nothing holds yet."""
    [path] = written(tmp_path, 4)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for at in range(last):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Unequal):
            chain(tmp_path)


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_line_that_was_taken_out_is_found(tmp_path: Path, taken: int) -> None:
    """The first one too: the next does not follow from nothing."""
    [path] = written(tmp_path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:taken] + lines[taken + 1 :]))
    if taken == 0:  # it looks like a log whose beginning is kept elsewhere
        assert chain(tmp_path).first_seq == 2
        return
    with pytest.raises(Unequal, match=rf"line {taken + 1}"):
        chain(tmp_path)


def test_a_crash_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """At every byte: it is said to be so before anything is added, and the chain goes on over it."""
    [path] = written(tmp_path, 3)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last + 1, len(whole)):
        path.write_bytes(whole[:cut])
        if cut < len(whole) - 1:
            with pytest.raises(Unequal, match="half-written"):
                chain(tmp_path)
        log = AuditLog(tmp_path)
        log.append(entry("after the crash"))
        log.close()
        found = chain(tmp_path)
        assert found.torn == (0 if cut == len(whole) - 1 else 1)
        phases = [line.phase for raw in lines_of([path]) if (line := decode(raw.raw)) is not None]
        assert Phase.TORN in phases


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is refused; with room again the log goes on, and tells of the half line."""
    log = AuditLog(tmp_path)
    log.append(entry())
    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) > 20:
            return real(file, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: full(file, bytes(data)[:21]))
        with pytest.raises(StoreFull, match="audit log"):
            log.append(entry())
    assert log.append(entry()) == 3
    assert chain(tmp_path).torn == 1


def test_changes_without_an_outcome_are_told(tmp_path: Path) -> None:
    """The daemon died in between."""
    log = AuditLog(tmp_path)
    first = log.append(entry())
    log.append(entry(phase=Phase.OUTCOME, call=first))
    second = log.append(entry())
    assert chain(tmp_path).open_calls == (second,)
    assert [one.seq for one in log.recent(lambda flow: flow == "f", 2)] == [2, 3]
    assert log.recent(lambda flow: flow == "g", 2) == []


def test_a_line_that_nothing_explains() -> None:
    """One that is no entry is no entry, even with a good one behind it."""
    good = encode(AuditEntry(1, "", Phase.INTENT, previous="0" * 64))
    with pytest.raises(Unequal, match="does not explain it"):
        verify([Line("a", b"rubbish\n"), Line("b", good)])


def test_refusals_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have files and a budget of their own, are cut short, and the chain of changes does not know of them."""
    monkeypatch.setattr(audit, "_REFUSED_FILE_BYTES_MAX", 4000)
    log = Audit(tmp_path)
    assert log.append(entry()) == 1
    for number in range(100):
        log.append(replace(entry("x" * 100_000, Phase.REFUSED), error=f"nr {number}"))
    assert log.append(entry("later")) == 2
    refused = files_of(tmp_path, REFUSALS)
    assert sum(path.stat().st_size for path in refused) < 10_000
    assert verify(lines_of(refused)).last_seq == 100
    assert chain(tmp_path).last_seq == 2
    recent = log.recent(lambda _: True, 4)
    assert [one.error or one.reason for one in recent] == ["nr 97", "nr 98", "nr 99", "later"]
    log.close()
    again = Audit(tmp_path)
    assert again.append(entry(phase=Phase.REFUSED)) == 101
    again.close()


def test_refusals_of_the_same_moment_do_not_push_a_change_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a clock that was set back: each kind is shown in the order in which it was written."""
    times = iter([NOON, NOON, NOON, NOON, NOON - timedelta(seconds=1), NOON - timedelta(seconds=2)])
    monkeypatch.setattr(audit, "datetime", SimpleNamespace(now=lambda _zone: next(times)))
    log = Audit(tmp_path)
    log.append(entry("change 1"))
    for number in range(3):
        log.append(replace(entry(phase=Phase.REFUSED), error=f"refusal {number}"))
    log.append(entry("change 2"))
    log.append(entry("change 3"))
    recent = [one.error or one.reason for one in log.recent(lambda _: True, 4)]
    assert recent == ["refusal 2", "change 1", "change 2", "change 3"]
    log.close()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Files are numbered by their first entry: which one is gone is known from those around it."""
    files = written(tmp_path, 12, 300)
    assert len(files) > 3
    gone = files[1]
    gone.unlink()
    with pytest.raises(Unequal, match="is missing") as caught:
        chain(tmp_path)

    assert gone.name in caught.value.what
    assert "entries" in caught.value.why or "entry" in caught.value.why


def test_a_file_that_is_deleted_while_it_is_written_is_missed(tmp_path: Path) -> None:
    """What was written behind its deletion went with it."""
    log = AuditLog(tmp_path, 300)
    for _ in range(3):
        log.append(entry())
    before = files_of(tmp_path)
    before[-1].unlink()
    assert log.append(entry()) == 4
    log.close()
    assert files_of(tmp_path)[-1].name == "audit-000000000004.jsonl"
    if len(before) > 1:
        with pytest.raises(Unequal, match=before[-1].name):
            chain(tmp_path)
    else:
        assert chain(tmp_path).first_seq == 4


@pytest.mark.parametrize(
    "bad",
    [
        {"seq": "x"},
        {"seq": None},
        {"seq": True},
        {"seq": -1},
        {"seq": 1.5},
        {"call": []},
        {"actor": 7},
        {"previous": {}},
        {"at": None},
        {"error": ["x"]},
        {"seq": 1 << 64},
        {"call": 1 << 64},
        {"flow": "\ud800"},
    ],
)
def test_a_line_with_wrong_types_is_named_and_blocks_nothing(tmp_path: Path, bad: dict[str, object]) -> None:
    """It ended `verify` in a traceback, and each order with it: the next number could not be counted."""
    [path] = written(tmp_path, 2)
    last = path.read_bytes().splitlines(keepends=True)[-1]
    path.write_bytes(path.read_bytes() + json.dumps(json.loads(last) | {"seq": 3} | bad).encode() + b"\n")
    with pytest.raises(Unequal, match="line 3"):
        chain(tmp_path)
    log = AuditLog(tmp_path)
    assert log.append(entry()) == 4, "the note is entry 3"
    assert len(log.recent(lambda _: True, 100)) == 4
    log.close()

    found = chain(tmp_path)
    assert (found.last_seq, found.torn) == (4, 1)


def test_a_file_without_any_entry_does_not_begin_the_numbers_anew(tmp_path: Path) -> None:
    """Its name tells which had been given."""
    files = written(tmp_path, 6, 300)
    files[-1].write_bytes(b'{"seq":"x"}\n')
    log = AuditLog(tmp_path, 300)
    last = log.append(entry())
    log.close()

    assert last > int(files[-1].stem.removeprefix("audit-"))
    assert decode(b"[" * 100_000) is None


@pytest.mark.timeout(60)  # whoever opens a FIFO waits for a writer for ever
def test_what_is_no_file_holds_up_no_reader(tmp_path: Path) -> None:
    """Each question about the audit log took one thread of the daemon with it, until no order could be written down."""
    log = Audit(tmp_path)
    log.append(entry())
    os.mkfifo(tmp_path / f"{REFUSALS}-000000000001.jsonl")
    with pytest.raises(StoreError, match="cannot be"):
        log.recent(lambda _: True, 10)
    log.append(entry())
    log.close()


def test_a_line_acts_on_no_terminal() -> None:
    """Of somebody who looks at the file itself; what is printable stays as it is."""
    evil = "J\u00fcrgen\x1b[2J\x9b31m\u202e\n\U000e0001\u2028"
    line = encode(replace(entry(evil), seq=1, at="now"))
    assert line.decode().removesuffix("\n").isprintable()
    assert "J\u00fcrgen" in line.decode()
    told = decode(line)
    assert told is not None
    assert told.reason == evil
