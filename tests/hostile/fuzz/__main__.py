"""Coverage-guided fuzzing of one decoder: `python -m tests.hostile.fuzz TARGET [libFuzzer's options]`.

It begins with what is kept under `corpus/TARGET`, writes what reaches new code into the directory that comes first
(`--grow DIR`), and ends with an error where a decoder raises what it should not; the input that did it is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["replicator"]):
    from tests.hostile.fuzz.targets import CORPUS, TARGETS, kinds, refused_or_understood

INPUT_BYTES_MAX = 2048


def main() -> None:
    """Fuzz until libFuzzer's options say stop."""
    name, *options = sys.argv[1:]
    decoder = TARGETS[name]
    directories = [option for option in options if not option.startswith("-")]
    kinds()  # looked for once, and not on the time of an input
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    found = Path(directories[0]) if directories else corpus
    arguments = [
        sys.argv[0],
        f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={found}/found-",
        *(option for option in options if option.startswith("-")),
        *directories,
        str(corpus),
    ]
    atheris.Setup(arguments, lambda raw: refused_or_understood(decoder, raw))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
