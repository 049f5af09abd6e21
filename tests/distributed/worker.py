"""Started in two processes: worker.py FOLDER."""

import sys
from pathlib import Path

import experiment

if __name__ == "__main__":
    experiment.run_all(Path(sys.argv[1]))
