"""Flow files, and what they name, that somebody made to hold up, to fill or to fool the daemon that reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from replicator.config.load import load
from replicator.errors import ConfigError


def write(directory: Path, text: str, name: str = "flow.yaml") -> Path:
    """Write a file that only we can read."""
    path = directory / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def problems(path: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the mistakes of a file, without its directory; nothing in them acts on a terminal."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    assert all(line.isprintable() for line in caught.value.problems)
    return [line.replace(f"{path.parent}/", "") for line in caught.value.problems]


@pytest.mark.timeout(60)  # a FIFO without a writer would wait for ever
@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("pipe", "cannot read pipe: is not a regular file"),
        ("p*pe", "cannot read pipe: is not a regular file"),
        ("/dev/zero", "cannot read /dev/zero: is not a regular file"),
        ("/dev/tty*", "cannot read /dev/tty"),
        ("directory", "cannot read directory: "),
        ("loop", "cannot read loop: Too many levels of symbolic links"),
        ("/proc/self/fd*/*", ": "),
        ("/proc/self/*", "cannot read /proc/self/"),
        ('"a\\0b"', "no file matches"),
        ("'[' ", "no file matches"),
    ],
)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, entry: str, problem: str) -> None:
    """A FIFO, a device, a directory, a link to itself, and what /proc holds."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    path = write(tmp_path, f"version: 1\ninclude: [{entry}]\nclusters: {{a: {{bootstrap: 'a:1'}}}}\nflows: {{}}\n")
    assert any(problem in line for line in problems(path))


@pytest.mark.timeout(60)
def test_a_flow_file_that_is_a_pipe(tmp_path: Path) -> None:
    """At SIGHUP it would stop the daemon for as long as nobody writes to it."""
    os.mkfifo(tmp_path / "flow.yaml")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "flow.yaml", {})
    assert caught.value.why == "is not a regular file"


def test_hostile_files_end_quickly(tmp_path: Path) -> None:
    """Deep nesting, alias bombs, huge files and tags are refused before they are expanded."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    hostile = {
        "nested too deeply": "[" * 100_000,
        "too large; allowed: 50000 values": "\n".join(lines),
        "allowed: 1 MiB": "#" * (2 << 20),
        "has no anchor": "a: &a [*a]",
        "tags": "version: !!python/object/apply:os.system [id]",
        "second document": "a: 1\n---\nb: 1\n",
        "not UTF-8": "",
        "the file is empty": "# nothing\n",
        "merge keys": "version: 1\nclusters: {a: &a {bootstrap: 'a:1'}, b: {<<: *a}}\nflows: {}\n",
        "must be a mapping": "- 1",
    }
    for expected, text in hostile.items():
        path = write(tmp_path, text)
        if expected == "not UTF-8":
            path.write_bytes(b"\xff\xfe")
        assert any(expected in line for line in problems(path)), expected


FLOW = """\
version: 1
clusters:
  east: {bootstrap: "e:1"}
  west: {bootstrap: "w:1"}
flows:
  f: {from: east, to: west, topics: {include: [%s]}}
"""


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{regex: '(a+)+$(?=b)'}", "regex"),
        ("{regex: '" + "(" * 5_000 + "'}", "regex"),
        ("{regex: 'a{1000}{1000}'}", "regex"),
        ("'a\\x1b[2J'", "include"),
        ("{prefix: ''}", "prefix"),
        ("{regex: '" + "a" * 100_000 + "b{1000}'}", "regex"),
    ],
)
def test_patterns_that_would_take_for_ever_are_refused(tmp_path: Path, entry: str, problem: str) -> None:
    """They are matched against each topic of a cluster, once a minute."""
    assert any(problem in line for line in problems(write(tmp_path, FLOW % entry)))


def test_includes_that_are_many_are_bounded(tmp_path: Path) -> None:
    """A pattern may match a whole disk."""
    for number in range(300):
        write(tmp_path, "#", f"part-{number}.yaml")
    path = write(tmp_path, "version: 1\ninclude: ['part-*.yaml']\nclusters: {a: {bootstrap: 'a:1'}}\nflows: {}\n")
    assert any("too many files" in line for line in problems(path))


def test_a_long_value_is_quoted_at_once(tmp_path: Path) -> None:
    """It was looked through for a password from each of its signs: a megabyte held up a reload for hours."""
    path = write(tmp_path, (FLOW % "orders").replace('"e:1"', '"' + "a" * 900_000 + '"'))
    assert any("bootstrap" in line for line in problems(path))


def test_variables_bring_text_and_no_structure(tmp_path: Path) -> None:
    """Whoever sets the environment sets one value."""
    text = FLOW % "orders"
    path = write(tmp_path, text.replace('"e:1"', '"${HOST}"'))
    hostile = {"HOST": "e:1}\n  evil: {bootstrap: 'x:1'"}
    assert any("bootstrap" in line for line in problems(path, hostile))
    assert "evil" not in {cluster.alias for cluster in load(path, {"HOST": "e:1"}).clusters}
