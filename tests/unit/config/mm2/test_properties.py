"""Properties files: every way to write a line, where it was, and lines that are replaced."""

from __future__ import annotations

import pytest

from replicator.config.mm2.properties import Entry, Properties, read
from replicator.config.yaml.mistakes import Mistakes


def entries(text: str | bytes) -> list[tuple[str, str, int]]:
    """Return (key, value, line) of every entry; the text must be sound."""
    mistakes = Mistakes()
    found = read(text.encode("latin-1") if isinstance(text, str) else text, "mm2.properties", mistakes)
    assert not mistakes.found
    return [(entry.key, entry.value, entry.line) for entry in found.entries]


@pytest.mark.parametrize(
    "line", ["key=value", "key = value", "key: value", "key:value", "key value", " \tkey\t=\tvalue  "]
)
def test_separators_and_blanks(line: str) -> None:
    """Equals sign, colon and blanks separate; blanks around are no part of either."""
    assert entries(line) == [("key", "value", 1)]


def test_comments_and_empty_lines_are_counted() -> None:
    """The line is the one where the key begins, whatever ends the lines before it."""
    assert entries("# one\n! two = 2\n\n  # a = b\na=1\r\nb=2\rc=3") == [("a", "1", 5), ("b", "2", 6), ("c", "3", 7)]


def test_continued_lines() -> None:
    """A backslash at the end goes on, without the blanks of the next line; a comment does not go on."""
    text = "# no \\\na = one,\\\n    two,\\\n\tthree\nb = even\\\\\nc = 3\n"
    assert entries(text) == [("a", "one,two,three", 2), ("b", "even\\", 5), ("c", "3", 6)]


def test_escapes() -> None:
    """As java.util.Properties has them: also in keys, and a needless backslash goes."""
    assert entries(r"a\=b\:c\ d = \t.\u0041\\d\-\q" + "\n") == [("a=b:c d", ".A\\d-q", 1)]
    assert entries("flow = A\\->B\nk\\u00e9y =\n") == [("flow", "A->B", 1), ("k\u00e9y", "", 2)]
    assert entries("latin = caf\u00e9") == [("latin", "caf\u00e9", 1)]


def test_the_last_of_two_lines_counts() -> None:
    """The earlier one is kept aside, to be told."""
    found = read(b"a=1\nb=2\na=3\na=4\n", "f", Mistakes())
    assert found == Properties(
        (Entry("b", "2", 2), Entry("a", "4", 4)), overruled=(Entry("a", "1", 1), Entry("a", "3", 3))
    )


def test_a_bad_escape_is_a_mistake_without_its_text() -> None:
    r"""Java refuses \u with anything but four digits; what stands there may be a password."""
    mistakes = Mistakes()
    read(b"a=1\npassword = canary\\u12g4\n", "mm2.properties", mistakes)
    (line,) = mistakes.lines()
    assert line.startswith("mm2.properties:2:1: \\u without four hexadecimal digits")
    assert "canary" not in line
