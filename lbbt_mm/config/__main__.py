"""Print the name of a run's work folder, for scripts.

python -m lbbt_mm.config CONFIG [NAME=VALUE ...]
"""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from lbbt_mm.config.run_name import run_name


def main() -> None:
    """Read the command line and print the name."""
    parser = argparse.ArgumentParser(prog="python -m lbbt_mm.config")
    parser.add_argument("config")
    parser.add_argument("options", nargs="*", action=DictAction, metavar="NAME=VALUE")
    args = parser.parse_args()
    print(run_name(args.config, args.options or {}))


if __name__ == "__main__":
    main()
