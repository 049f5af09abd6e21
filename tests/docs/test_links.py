"""Links of README, docs and the other pages lead to files and headings that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = "* docs/* benchmarks/* configs/**/* examples/**/* projects/**/*"
PAGES = sorted(
    page
    for pattern in FOLDERS.split()
    for page in ROOT.glob(f"{pattern}.md")
    if not page.name.endswith(".template.md")
)


@cache
def headings(page: Path) -> set[str]:
    """Anchors that GitHub and the docs site give the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in named]
    return {word.replace(" ", "-") for word in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, heading = target.partition("#")
        if ":" in file or file.startswith("../../actions"):
            continue  # the web, and GitHub's own page of runs
        found = (page.parent / file).resolve() if file else page
        if not found.exists() or heading and heading not in headings(found):
            lost.append(target)
    assert not lost
