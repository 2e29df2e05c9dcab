"""``python -m replicator.devkit``: fetch what local clusters need, so that no test has to wait for it."""

from __future__ import annotations

import sys

from replicator.devkit.archive import ensure_archive
from replicator.devkit.runtime.distribution import ensure_distribution
from replicator.errors import DevkitError


def main() -> int:
    """Fetch the jars of the default Kafka version, or say what is missing."""
    try:
        ensure_archive(ensure_distribution())
    except DevkitError as error:
        print(f"error: {error}\nnext: {error.next_step}", file=sys.stderr)  # noqa: T201 - a command's answer
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
