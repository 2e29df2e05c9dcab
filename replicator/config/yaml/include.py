"""Reads a file and its includes as one tree."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from replicator.config.yaml.interpolate import interpolate
from replicator.config.yaml.mistakes import Mark, Mistakes, did_you_mean
from replicator.config.yaml.positions import Node, parse
from replicator.errors import ConfigError
from replicator.files import read_regular

FILE_BYTES_MAX = 1 << 20
FILES_MAX = 200
DEPTH_MAX = 3
INCLUDED_KEYS = ("clusters", "flows", "include")


def read_tree(path: Path, environ: Mapping[str, str], mistakes: Mistakes) -> Node | None:
    """Return the whole file with variables replaced and includes merged; None if it cannot be read.

    Raises:
        ConfigError: The file itself is missing or unreadable.
    """
    reader = _Reader(environ, mistakes)
    try:
        root = reader.read(path)
    except OSError as error:
        raise ConfigError(
            f"cannot read the flow file {path}",
            why=error.strerror or type(error).__name__,
            next_step="replicator config template > replicator.yaml",
        ) from error
    if root is None:
        return None
    reader.seen.add(_identity(path))
    reader.merge(root, root, depth=1)
    return reader.result(root)


@dataclass(slots=True)
class _Reader:
    environ: Mapping[str, str]
    mistakes: Mistakes
    seen: set[tuple[int, int]] = field(default_factory=set)
    sections: dict[str, dict[str, Node]] = field(default_factory=dict)

    def read(self, path: Path) -> Node | None:
        """Return one file's tree, or None with the mistake noted.

        Raises:
            OSError: It cannot be read, or is not a regular file.
        """
        start = Mark(str(path), 1, 1)
        self.mistakes.files.append(start.file)
        raw = read_regular(path, FILE_BYTES_MAX + 1)
        if len(raw) > FILE_BYTES_MAX:
            self.mistakes.add(start, (), f"the file is too large; allowed: {FILE_BYTES_MAX >> 20} MiB")
            return None
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.mistakes.add(start, (), f"not UTF-8 text (byte {error.start})")
            return None
        root = parse(text, str(path), self.mistakes)
        if root is not None and not isinstance(root.value, dict):
            self.mistakes.add(root.mark, (), "must be a mapping (key: value) at the top")
            return None
        return root if root is None else interpolate(root, self.environ, self.mistakes)

    def merge(self, root: Node, file: Node, depth: int) -> None:
        """Take clusters and flows from `file`, then from all its includes."""
        for section in ("clusters", "flows"):
            node = file.child(section)
            if node is not None and isinstance(node.value, dict):
                self._take(section, node.value)
            elif file is not root and node is not None and node.value is not None:
                self.mistakes.add(node.mark, node.path, "must be a mapping (key: value)")
        include = file.child("include")
        entries = include.value if include is not None and isinstance(include.value, list) else []
        if include is not None and file is not root and not isinstance(include.value, list):
            self.mistakes.add(include.mark, include.path, "must be a list of file names")
        for entry in entries:
            if isinstance(entry.value, str) and not entry.failed:
                self._include(root, entry, depth)

    def _take(self, section: str, entries: dict[str, Node]) -> None:
        taken = self.sections.setdefault(section, {})
        for name, node in entries.items():
            first = taken.setdefault(name, node)
            if first is not node:
                place = f"{first.key_mark.file}:{first.key_mark.line}"
                self.mistakes.add(node.key_mark, node.path, f"is defined twice; first in {place}")

    def _include(self, root: Node, entry: Node, depth: int) -> None:
        base = Path(entry.mark.file).parent
        pattern = str(entry.value)
        if depth > DEPTH_MAX:
            self.mistakes.add(entry.mark, entry.path, f"included too deeply; allowed: {DEPTH_MAX} levels")
            return
        names = _matching(pattern, base)
        if not names:
            self.mistakes.add(entry.mark, entry.path, f"no file matches '{base / pattern}'")
        for name in names:
            path = base / name
            try:
                identity = _identity(path)
            except OSError as error:
                self.mistakes.add(entry.mark, entry.path, f"cannot read {path}: {error.strerror}")
                continue
            if identity in self.seen:
                self.mistakes.add(entry.mark, entry.path, f"{path} is included twice, or includes itself")
                continue
            self.seen.add(identity)
            if len(self.seen) > FILES_MAX:
                self.mistakes.add(entry.mark, entry.path, f"too many files; allowed: {FILES_MAX}")
                return
            self._include_file(root, entry, path, depth)

    def _include_file(self, root: Node, entry: Node, path: Path, depth: int) -> None:
        try:
            file = self.read(path)
        except OSError as error:
            self.mistakes.add(entry.mark, entry.path, f"cannot read {path}: {error.strerror}")
            return
        if file is None or not isinstance(file.value, dict):
            return
        for key, node in file.value.items():
            if key not in INCLUDED_KEYS:
                allowed = ", ".join(INCLUDED_KEYS)
                hint = did_you_mean(key, INCLUDED_KEYS)
                self.mistakes.add(
                    node.key_mark, node.path, f"not allowed in an included file; allowed: {allowed}{hint}"
                )
        self.merge(root, file, depth + 1)

    def result(self, root: Node) -> Node:
        """Return the root with everything that was taken."""
        value = dict(root.value) if isinstance(root.value, dict) else {}
        for section, entries in self.sections.items():
            own = value.get(section)
            if own is None or own.value is None:
                own = Node(root.mark, root.key_mark, (section,), {})
            value[section] = replace(own, value=entries)
        return replace(root, value=value)


def _identity(path: Path) -> tuple[int, int]:
    """Return the identity of a file, whatever links lead to it.

    Raises:
        OSError: There is no such file.
    """
    found = path.stat()
    return found.st_dev, found.st_ino


def _matching(pattern: str, base: Path) -> list[str]:
    """Return the names that match, in order, and at most one more than may be included."""
    if "\0" in pattern:
        return []
    names = glob.iglob(pattern, root_dir=base)  # noqa: PTH207  # Path.glob refuses absolute patterns
    return sorted(itertools.islice(names, FILES_MAX + 1))
