"""Gather runs, probes and measurements beside the paper's figures and tables.

The page of tools/report.py, with the paper's numbers shaded next to ours; the same
options.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import report as report_tool  # noqa: E402  (tools/report.py)
from paper.page import LEAD, TITLE, build_sections  # noqa: E402

if __name__ == "__main__":
    report_tool.main(
        "projects/paper/report.py", __doc__ or "", build_sections, TITLE, [LEAD]
    )
