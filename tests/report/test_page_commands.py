"""The commands on the page run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from lbbt_mm.report.report_page import build_sections
from lbbt_mm.runs.find import gather


def test_what_is_missing_is_made_by_commands_of_files_that_are_there(work_dir) -> None:
    """Each names a tool, its options, a config, and a checkpoint that is made first."""
    home = work_dir.run(probe=None)
    work_dir.measure(home, "activation", work_dir.results["activation"](1))
    unknown = work_dir.run(labels="true", probe=None)
    for path in [unknown / "config.py", *unknown.rglob("vis_data/config.py")]:
        path.unlink()
    gaps = [g for s in build_sections(gather([work_dir.folder])) for g in s.gaps]
    commands = [gap.command for gap in gaps if gap.command]
    assert len(commands) >= 4 and len(commands) < len(gaps)
    launch = Path("tools/_launch.py").read_text()
    for command in commands:
        made = set()
        for line in command.splitlines():
            python, tool, config, *rest = shlex.split(line)
            assert python == "python" and Path(config).is_file(), line
            options = re.findall(r"--[a-z-]+", " ".join(rest))
            known = Path(tool).read_text() + launch
            assert all(f'"{option}"' in known for option in options), line
            for word in rest:
                if word.endswith(".pth"):
                    assert Path(word).is_file() or Path(word).parent in made, line
            if "--work-dir" in rest:
                made.add(Path(rest[rest.index("--work-dir") + 1]))
