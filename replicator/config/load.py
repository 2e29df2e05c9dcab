"""Reads a flow file and the files that it includes, or reports everything that is wrong with them.

There are three stages, each over the whole file, so that one run shows all mistakes:
YAML and variables (tree), the shape of each key (`check`), and rules that join keys (`lint`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from replicator.config.check import Checked, check
from replicator.config.convert import to_spec
from replicator.config.lint.every_rule import lint
from replicator.config.yaml.include import read_tree
from replicator.config.yaml.mistakes import Mistakes
from replicator.config.yaml.positions import Node, map_nodes
from replicator.errors import ConfigError
from replicator.model.spec import Spec


def load(path: Path, environ: Mapping[str, str]) -> Spec:
    """Return the meaning of a flow file.

    Args:
        path: The file; a relative path in it is relative to the file that contains it.
        environ: The variables that ``${VAR}`` may use.

    Raises:
        ConfigError: The file cannot be read, or has mistakes; `problems` holds every one of them.
    """
    return _load(path, environ)[1]


def effective(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return every key with its value after defaults, includes and variables, secrets redacted.

    Raises:
        ConfigError: As for `load`.
    """
    checked, spec = _load(path, environ)
    values: dict[str, Any] = checked.shape.model_dump(mode="json", by_alias=True)
    values["include"] = []  # what was included is below
    values["daemon"]["state_dir"] = str(spec.daemon.state_dir)
    return values


def _load(path: Path, environ: Mapping[str, str]) -> tuple[Checked, Spec]:
    mistakes = Mistakes()
    tree = read_tree(path, environ, mistakes)
    if tree is None:
        raise _error(path, mistakes)
    checked = check(map_nodes(tree, _absolute), mistakes)
    spec = to_spec(checked.shape, path.absolute())
    lint(checked, spec, mistakes)
    if mistakes.found:
        raise _error(path, mistakes)
    return checked, spec


def _absolute(node: Node) -> Node:
    """Resolve a path relative to the file that contains it."""
    key = node.path[-1] if node.path else None
    if not isinstance(node.value, str) or not node.value or not isinstance(key, str) or node.failed:
        return node
    if key != "state_dir" and not key.endswith("_file"):
        return node
    return replace(node, value=str(Path(node.mark.file).absolute().parent / node.value))


def _error(path: Path, mistakes: Mistakes) -> ConfigError:
    problems = mistakes.lines()
    count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    return ConfigError(f"{path} has {count}", problems=problems, next_step=f"replicator validate {path}")
