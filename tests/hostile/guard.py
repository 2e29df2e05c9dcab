"""A guard against a lie, and where what it is about stands."""

from __future__ import annotations

from typing import NamedTuple


class Guard(NamedTuple):
    """What is told, what keeps it from doing harm, and how that is taken away.

    Attributes:
        lie: In words.
        guard: In words.
        file: Where it is.
        text: What is replaced there, once, by
        without: this.
        test: What has to fail then: a file, and what `-k` chooses in it.
        kafka: Whether that needs brokers.
    """

    lie: str
    guard: str
    file: str
    text: str
    without: str
    test: tuple[str, str]
    kafka: bool = False


ANSWERS = "tests/hostile/test_answers.py"
FETCH_ANSWERS = "tests/hostile/test_fetch_answers.py"
LOGIN_ANSWERS = "tests/hostile/test_login_answers.py"
NAMES = "tests/hostile/test_names.py"
FILES = "tests/hostile/test_local_files.py"
FLOW_FILES = "tests/hostile/test_flow_files.py"
DECODERS = "tests/hostile/test_decoders.py"
MESSAGES = "tests/hostile/test_messages.py"
DECODE = "replicator/wire/protocol/decode.py"
CONNECTION = "replicator/wire/transport/connection.py"
INCOMING = "replicator/wire/transport/incoming.py"
METADATA = "replicator/wire/metadata.py"
