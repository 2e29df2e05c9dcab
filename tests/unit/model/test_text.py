"""Texts of others on a terminal and in a shell."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.model.text import command, printable

HOSTILE = "ok\x1b[2J\x07\r\n\u202egnp\x85\u2028\udc80;touch x"


@given(st.text())
def test_nothing_acts_on_a_terminal(text: str) -> None:
    """Neither sequences, nor line breaks, nor signs that turn the direction."""
    assert printable(text).isprintable()
    kept = printable(text, lines=True)
    assert kept.count("\n") == text.count("\n")
    assert kept.replace("\n", "").isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_plain_text_stays(text: str) -> None:
    """Also other alphabets."""
    assert printable(text) == text


def test_escapes() -> None:
    """As Python writes them."""
    assert printable(HOSTILE) == r"ok\x1b[2J\x07\r\n\u202egnp\x85\u2028\udc80;touch x"
    assert printable("a\nb\x1b", lines=True) == "a\nb\\x1b"


@pytest.mark.parametrize(
    "word", ["plain", "a b", "", "x;touch y", "it's", "$(id)", "a\\b", "\x1b[31m", "a\nb", "a'\n\\n", "\u202eä", "-x"]
)
def test_a_shell_reads_the_same_words(word: str) -> None:
    """Whatever a group is called, the command that is shown can be copied."""
    shown = command("printf", "%s", word)
    assert shown.isprintable()
    environ = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["/bin/bash", "-c", shown], capture_output=True, check=True, env=environ, timeout=60)
    assert done.stdout.decode() == word
