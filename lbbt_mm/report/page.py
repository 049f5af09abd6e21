"""One HTML page that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from lbbt_mm.report.tables import Table

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; }
img { max-width: 100%; }
table { border-collapse: collapse; margin: 1.5rem 0; }
caption { caption-side: bottom; text-align: left; color: #555; padding-top: .4rem; }
th, td { padding: .3rem .9rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child { text-align: left; font-weight: normal; }
thead th { font-weight: 600; border-bottom: 2px solid #888; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
"""


def picture(path: Path, description: str) -> str:
    """Embed a PNG file.

    Args:
        path: The picture.
        description: What a reader who does not see it should know.
    """
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(description, quote=True)
    return f'<img alt="{text}" src="data:image/png;base64,{data}">'


def paragraph(text: str) -> str:
    """Write plain text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def preformatted(text: str) -> str:
    """Write text as it is, for commands and settings."""
    return f"<pre>{html.escape(text)}</pre>"


def write_page(path: Path, title: str, parts: Sequence[str | Table]) -> None:
    """Write a page.

    Args:
        path: File to write.
        title: Its heading.
        parts: Pieces of HTML from the functions of this module, and tables.
    """
    body = "\n".join(p.to_html() if isinstance(p, Table) else p for p in parts)
    name = html.escape(title)
    path.write_text(
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n<h1>{name}</h1>\n{body}\n"
        f"</html>\n",
        encoding="utf-8",
    )
