"""Every decoder refuses nonsense by an error of ours: what was found once, changed bytes, and what a fuzzer tries."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core.offsets.offset_map import OffsetPair, unpack_runs
from replicator.errors import CorruptRecords
from tests.hostile.fuzz.keeping import CORPUS
from tests.hostile.fuzz.targets import TARGETS, kept, refused_or_understood

ROOT = Path(__file__).parents[2]
CORPORA_BYTES_MAX = 300_000
FUZZ_SECONDS = 60
FUZZ_RUNS_MIN = 1_000


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_once_stays_refused(target: str) -> None:
    """Ways into the decoder, and inputs that once went wrong."""
    found = list(kept(target))
    assert found
    for raw in found:
        refused_or_understood(TARGETS[target], raw)


def test_the_corpora_are_small() -> None:
    """All of them together."""
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < CORPORA_BYTES_MAX


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=25)
@given(data=st.data())
def test_what_is_almost_sound_is_refused_or_understood(target: str, data: st.DataObject) -> None:
    """A kept input, cut and with some bytes changed; or any bytes."""
    raw = bytearray(data.draw(st.one_of(st.sampled_from(list(kept(target))), st.binary(max_size=200))))
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    refused_or_understood(TARGETS[target], bytes(raw[: cut or len(raw)]))


def test_a_map_that_is_a_bomb_is_not_unpacked() -> None:
    """A hundred kilobytes of whoever may write to the state topic."""
    with pytest.raises(CorruptRecords) as caught:
        unpack_runs(OffsetPair(0, 0), zlib.compress(bytes(100 << 20)))

    assert "expands to more than" in caught.value.why


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_a_fuzzer_finds_nothing(target: str, tmp_path: Path) -> None:
    """A minute of coverage-guided search from what is kept; what it finds is printed, to be kept as well."""
    pytest.importorskip("atheris", reason="atheris has wheels for CPython to 3.14 on Linux and x86-64 only")
    command = [sys.executable, "-m", "tests.hostile.fuzz", target, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10"]
    done = subprocess.run(
        [*command, "-rss_limit_mb=1500", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=FUZZ_SECONDS + 120,
    )
    found = {path.name: path.read_bytes().hex() for path in tmp_path.glob("found-*")}
    assert done.returncode == 0, f"{found}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None
    assert int(runs[1]) >= FUZZ_RUNS_MIN
