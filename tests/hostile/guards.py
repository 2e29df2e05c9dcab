"""Each lie's guard is taken away once, and a test has to fail: `python -m tests.hostile.guards [--kafka] [WORD...]`.

It works on a copy of the tree, and prints a table. A guard whose absence nothing notices ends it with 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.hostile.guard import Guard
from tests.hostile.guards_of_answers import OF_ANSWERS
from tests.hostile.guards_of_input import OF_INPUT

ROOT = Path(__file__).parents[2]
_SECONDS_MAX = 300
_MEMORY_KIB_MAX = 6 << 20

GUARDS = (*OF_ANSWERS, *OF_INPUT)


def main() -> int:
    """Take each guard away; return 1 where one is not missed."""
    words = [word for word in sys.argv[1:] if word != "--kafka"]
    chosen = [guard for guard in GUARDS if guard.kafka == ("--kafka" in sys.argv)]
    chosen = [guard for guard in chosen if not words or any(word in guard.lie for word in words)]
    unseen = 0
    print("| lie | guard | seen to fail |\n| --- | --- | --- |")  # noqa: T201 - a table
    for guard in chosen:
        seen = _is_missed(guard)
        unseen += not seen
        print(f"| {guard.lie} | {guard.guard} | {'yes' if seen else 'NO'} |", flush=True)  # noqa: T201
    return 1 if unseen else 0


def _is_missed(guard: Guard) -> bool:
    with tempfile.TemporaryDirectory(prefix="replicator-guard-") as directory:
        copy = Path(directory) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        path = copy / guard.file
        text = path.read_text()
        assert guard.text in text, f"{guard.file} holds no {guard.text!r}"
        path.write_text(text.replace(guard.text, guard.without))
        file, chosen = guard.test
        # What a guard keeps small may fill the machine without it; brokers have bounds of their own.
        bounded = "ulimit -v unlimited" if guard.kafka else f"ulimit -v {_MEMORY_KIB_MAX}"
        command = ["bash", "-c", f'{bounded}; exec "$@"', "-", sys.executable, "-m", "pytest"]
        command += ["-q", "-x", "-p", "no:cacheprovider", file]
        command += ["-k", chosen] if chosen else []
        try:
            done = subprocess.run(command, cwd=copy, capture_output=True, timeout=_SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired:
            return True
        return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
