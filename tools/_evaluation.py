"""What the tools hang into mmengine's runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmengine
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook
from mmengine.logging import print_log

from lbbt_mm.files import write_whole
from lbbt_mm.models.pretrained import require_same_blocks


class Predictions(DumpResults):
    """Every prediction in a file; where it cannot be written, metrics still count."""

    problem: OSError | None = None

    def compute_metrics(self, results: list) -> dict:
        """Write the file.

        Args:
            results: The predictions of all images.

        Returns:
            No metrics.
        """
        path = Path(self.out_file_path)
        try:
            write_whole(path, lambda part: mmengine.dump(results, str(part)))
            print_log(f"Every prediction is in {path}.", logger="current")
        except OSError as error:
            self.problem = error
        return {}


class SameBlocks(Hook):
    """Refuse to score or go on with blocks that no checkpoint has filled."""

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Compare the model with what is about to be loaded into it.

        Args:
            runner: Has the model.
            checkpoint: A state dict, or what contains one.
        """
        require_same_blocks(runner.model, checkpoint.get("state_dict", checkpoint))
