#!/usr/bin/env python3
"""Tell which locked packages their registry has withdrawn: yanked versions (PEP 592), projects given up (PEP 792).

Asks the registry that `uv.lock` names, one small document per package. Ends with 1 if there is any, with 2 if it
cannot be asked: what is not known is not called sound.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

LOCK = Path(__file__).resolve().parent.parent / "uv.lock"
_GIVEN_UP = frozenset({"archived", "deprecated", "quarantined"})
_AT_ONCE = 8
_ANSWER_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Locked:
    """One package as the lock file has it."""

    name: str
    version: str
    registry: str
    files: frozenset[str]


def locked(text: str) -> list[Locked]:
    """Return what a lock file takes from a registry; our own package is not among it."""
    return [
        Locked(
            package["name"],
            package["version"],
            package["source"]["registry"].rstrip("/"),
            frozenset(_file_name(file) for file in (package.get("sdist"), *package.get("wheels", ())) if file),
        )
        for package in tomllib.loads(text)["package"]
        if "registry" in package["source"]
    ]


def withdrawn(package: Locked, project: dict[str, Any]) -> Iterator[str]:
    """Return what the registry's document (PEP 691) says against a package.

    A version counts as yanked if any file of it that the lock names is.
    """
    status = project.get("project-status") or {}
    if status.get("status") in _GIVEN_UP:
        yield f"{package.name}: {status['status']}: {status.get('reason') or 'no reason given'}"
    files = {file["filename"]: file for file in project["files"]}
    missing = sorted(package.files - files.keys())
    if missing:
        yield f"{package.name} {package.version}: {missing[0]} is gone from the registry"
    reasons = {str(files[name]["yanked"]) for name in package.files & files.keys() if files[name].get("yanked")}
    if reasons:
        yield f"{package.name} {package.version}: yanked: {'; '.join(sorted(reasons))}"


def _file_name(file: dict[str, Any]) -> str:
    return str(file["url"]).rpartition("/")[2]


def _asked(package: Locked) -> list[str]:
    url = f"{package.registry}/{package.name}/"
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    answer = httpx.get(url, headers=accept, timeout=_ANSWER_SECONDS_MAX, follow_redirects=True)
    return list(withdrawn(package, answer.raise_for_status().json()))


def main() -> int:
    """Ask about all of the lock file."""
    packages = locked(LOCK.read_text(encoding="utf-8"))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            found = [line for lines in pool.map(_asked, packages) for line in lines]
        except (httpx.HTTPError, ValueError) as error:
            sys.stderr.write(f"error: the registry could not be asked: {error}\n")
            return 2
    for line in found:
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"{len(packages)} packages, {len(found)} withdrawn\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
