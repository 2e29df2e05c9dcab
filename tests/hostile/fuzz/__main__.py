"""Coverage-guided fuzzing of one decoder: `python -m tests.hostile.fuzz [--keep] TARGET [libFuzzer's options]`.

It begins with what is kept under `corpus/TARGET`, writes what it finds into the directory that is given, and ends with
an error where a decoder raises what it should not. With `--keep` the directory is one of its own, and afterwards the
corpus holds the input that did it, as `found-...`, and of the others the smallest that reach code no kept one reaches.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.fuzz.keeping import CORPUS, INPUT_BYTES_MAX, keep


def main() -> int:
    """Fuzz until libFuzzer's options say stop; return its exit code."""
    name, *options = [word for word in sys.argv[1:] if word != "--keep"]
    return keep(name, options) if "--keep" in sys.argv else fuzz(name, options)


def fuzz(name: str, options: Sequence[str]) -> int:
    """Fuzz one decoder; libFuzzer ends the process by itself."""
    import atheris  # noqa: PLC0415 - whoever only keeps what was found needs no instrumented copy of everything

    with atheris.instrument_imports(include=["replicator"]):
        from tests.hostile.fuzz.kafka_targets import kinds  # noqa: PLC0415
        from tests.hostile.fuzz.targets import TARGETS, refused_or_understood  # noqa: PLC0415
    decoder = TARGETS[name]
    directories = [option for option in options if not option.startswith("-")]
    kinds()  # looked for once, and not on the time of an input
    corpus = CORPUS / name
    found = Path(directories[0]) if directories else Path()
    arguments = [
        # What libFuzzer runs to begin anew, word by word.
        f"{sys.executable} -m tests.hostile.fuzz {name}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={found}/found-",
        *(option for option in options if option.startswith("-")),
        *directories,
        *([] if any(option.startswith("-merge") for option in options) else [str(corpus)]),
    ]
    atheris.Setup(arguments, lambda raw: refused_or_understood(decoder, raw))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
