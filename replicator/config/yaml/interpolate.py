"""``${VAR}``, ``${VAR:-default}``, ``${VAR:?message}`` and ``$$`` in string values.

Values are inserted after the YAML is parsed, so a variable can never add keys. A key is never substituted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from replicator.config.yaml.mistakes import Mistakes, did_you_mean
from replicator.config.yaml.positions import Node, map_nodes

_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)(.*))?", re.DOTALL)
_LINE_BREAKS = re.compile(r"[\n\r\x00\x85\u2028\u2029]")


class _BadReference(ValueError):
    """A reference that cannot be replaced."""


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with every reference replaced.

    Raises:
        ValueError: An undefined variable, a malformed reference, or a value with a line break.
    """
    return _REFERENCE.sub(lambda match: _one(match, environ), text)


def _one(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    body = _BODY.fullmatch(match[1])
    if not match[2] or body is None:
        # The text between the braces is not repeated: it may be a password with a stray "${".
        raise _BadReference(
            "not a variable reference; allowed: ${VAR}, ${VAR:-default}, ${VAR:?message}, and $$ for a plain $"
        )
    name, operator, argument = body.groups()
    value = environ.get(name)
    if operator == ":-":
        value = value or argument
    elif operator == ":?" and not value:
        raise _BadReference(f"environment variable {name} is not set: {argument or 'it is required'}")
    if value is None:
        raise _BadReference(
            f"environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            + did_you_mean(name, environ)
        )
    if _LINE_BREAKS.search(value):
        raise _BadReference(f"environment variable {name} holds a line break; allowed: one line")
    return value


def interpolate(root: Node, environ: Mapping[str, str], mistakes: Mistakes) -> Node:
    """Return the tree with all references replaced; one that cannot be replaced is noted and left as it is."""

    def change(node: Node) -> Node:
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        try:
            text = substitute(node.value, environ)
        except ValueError as error:
            mistakes.add(node.mark, node.path, str(error))
            return replace(node, failed=True)
        return replace(node, value=text, substituted=text != node.value)

    return map_nodes(root, change)
