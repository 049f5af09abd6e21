"""The docs build into a site without a warning and without the network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sphinx.cmd.build import build_main

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_site_builds_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert build_main(["-q", "-W", "--keep-going", str(DOCS), str(site)]) == 0
    for page in ("index", "api", "get_started"):
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        loaded = re.findall(r'(?:src|<link[^>]*href)="(https?://[^"]+)"', text)
        assert not loaded, f"{page}.html loads {loaded}"
    reference = (site / "api.html").read_text(encoding="utf-8")
    for name in ("LanguageBackbone", "RandomLabelDataset", "LanguageInitHook"):
        assert f">{name}<" in reference
