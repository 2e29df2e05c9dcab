"""The pages are whole: links lead somewhere, and what they list is all that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.model.status.states import Reason

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    page for pattern in ("*.md", "docs/*.md", "chaos/*.md", "benchmarks/*.md") for page in ROOT.glob(pattern)
)
README_LINES_MAX = 200

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CITED = re.compile(r"KAFKA_FACTS (K\d+)")
_FENCE = "```"


def prose(page: Path) -> Iterator[str]:
    """Yield the lines of a page that are in no block of code."""
    in_code = False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith(_FENCE):
            in_code = not in_code
        elif not in_code:
            yield line


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    headings = [line.lstrip("#").strip() for line in prose(page) if re.match(r"#{1,6} ", line)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    """Yield each relative link of a page that leads nowhere."""
    for line in prose(page):
        for link in _LINK.findall(re.sub(r"`[^`]*`", "", line)):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            is_web = re.match(r"\w+:", link) is not None
            if not is_web and (not target.exists() or (anchor and anchor not in anchors(target))):
                yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """To a file, and to a heading of it."""
    assert list(broken_links(page)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A missing file and a missing heading are; code is no link, and the web is not asked."""
    page = tmp_path / "page.md"
    page.write_text(
        "# It's `a.b` here\n\n[x](gone.md) [y](#its-ab-here) [z](#no) `[c](no.md)` [w](https://no.example)\n"
    )
    assert list(broken_links(page)) == ["gone.md", "#no"]


def test_every_page_is_listed_in_the_readme() -> None:
    """A page that nothing leads to is not read."""
    listed = set(_LINK.findall((ROOT / "README.md").read_text()))
    assert {f"docs/{page.name}" for page in ROOT.glob("docs/*.md")} <= listed


def test_the_readme_is_short() -> None:
    """What is reference has a page of its own."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX


def test_the_map_of_rooms_is_that_of_the_tree() -> None:
    """Every package is in the table, and no package that is gone."""
    text = (ROOT / "DESIGN.md").read_text()
    table = text.partition("## Map of the rooms")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = {name.removesuffix("/") for row in rows for name in re.findall(r"`([\w/.]+)`", row)}
    source = ROOT / "replicator"
    packages = {str(found.parent.relative_to(source)) for found in source.rglob("__init__.py")} - {"."}
    modules = {found.name for found in source.glob("*.py")} - {"__init__.py"}
    assert listed == (packages - {"core", "engine"}) | modules


def test_every_file_that_the_design_names_is_in_the_tree() -> None:
    """A file that moved is looked for where it was."""
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`", (ROOT / "DESIGN.md").read_text())
    files = {f"/{found.relative_to(ROOT)}" for found in (ROOT / "replicator").rglob("*.py")}
    outside = {name for name in named if (ROOT / name).is_file()}
    assert named
    assert [name for name in named if name not in outside and not any(one.endswith(f"/{name}") for one in files)] == []


def test_every_cited_fact_about_kafka_is_on_its_page() -> None:
    """Comments cite facts by number."""
    known = set(re.findall(r"^## (K\d+) ", (ROOT / "docs/KAFKA_FACTS.md").read_text(), re.MULTILINE))
    sources = [found for folder in ("replicator", "tests") for found in (ROOT / folder).rglob("*.py")]
    cited = {number for source in sources for number in _CITED.findall(source.read_text())}
    assert cited
    assert cited <= known


def test_the_runbook_has_every_reason() -> None:
    """What an operator sees is what an operator looks up."""
    text = (ROOT / "docs/RUNBOOK.md").read_text()
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in text] == []
