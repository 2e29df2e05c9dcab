"""Which locked packages the registry has withdrawn."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.audit_lock import LOCK, locked, withdrawn

TEXT = """
[[package]]
name = "ours"
version = "1"
source = { editable = "." }

[[package]]
name = "theirs"
version = "2.0"
source = { registry = "https://registry.example/simple/" }
sdist = { url = "https://files.example/a/theirs-2.0.tar.gz", hash = "sha256:00" }
wheels = [{ url = "https://files.example/b/theirs-2.0-py3-none-any.whl", hash = "sha256:01" }]
"""
SDIST = {"filename": "theirs-2.0.tar.gz", "yanked": False}
WHEEL = {"filename": "theirs-2.0-py3-none-any.whl", "yanked": False}
OTHER = {"filename": "theirs-1.9.tar.gz", "yanked": "too old"}


def test_what_is_asked_about() -> None:
    """All that comes from a registry, with its files."""
    (one,) = locked(TEXT)
    assert (one.name, one.version, one.registry) == ("theirs", "2.0", "https://registry.example/simple")
    assert one.files == {SDIST["filename"], WHEEL["filename"]}
    assert len(locked(LOCK.read_text())) > 50


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        ({"files": [SDIST, WHEEL, OTHER]}, []),
        ({"files": [SDIST, WHEEL], "project-status": {"status": "active"}}, []),
        ({"files": [SDIST | {"yanked": "broken"}, WHEEL]}, ["theirs 2.0: yanked: broken"]),
        ({"files": [SDIST, WHEEL | {"yanked": True}]}, ["theirs 2.0: yanked: True"]),
        ({"files": [SDIST]}, ["theirs 2.0: theirs-2.0-py3-none-any.whl is gone from the registry"]),
        (
            {"files": [SDIST, WHEEL], "project-status": {"status": "deprecated", "reason": "use others"}},
            ["theirs: deprecated: use others"],
        ),
        (
            {"files": [SDIST, WHEEL], "project-status": {"status": "quarantined"}},
            ["theirs: quarantined: no reason given"],
        ),
    ],
)
def test_what_speaks_against_it(project: dict[str, Any], expected: list[str]) -> None:
    """Also a project that was given up as a whole."""
    (one,) = locked(TEXT)
    assert list(withdrawn(one, project)) == expected
