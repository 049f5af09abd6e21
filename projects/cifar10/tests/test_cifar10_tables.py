"""The pages say what the results say, and the picture is drawn of them."""

from __future__ import annotations

import pytest
from cifar10_tiny import load_script


def test_the_pages_are_what_the_results_say(monkeypatch, tmp_path) -> None:
    tables = load_script("tables", monkeypatch)
    tables.main(["--check"])
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n<!-- bridges -->\n<!-- end -->\n")
    monkeypatch.setattr(tables, "PAGES", [page])
    with pytest.raises(SystemExit, match="is not what the results say"):
        tables.main(["--check"])
    monkeypatch.setattr(tables, "PICTURE", tmp_path / "picture.png")
    tables.main([])
    tables.main(["--check"])
    assert "no model, raw pixels" in page.read_text()
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
