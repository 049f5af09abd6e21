"""A look at the data before a run, and a sentence for each file that is not sound."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from lbbt_mm.datasets.checks.guard import guard_dataset
from lbbt_mm.neighbours.mmengine import loops_of
from lbbt_mm.registry import HOOKS


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Refuse data that would train or count in silence as something else.

    Before a run: categories of detection data, or folders of images, that do not fit
    the dataset's classes, so that boxes are left out or labels have the names of other
    classes; and a line in the log for files of a folder that a dataset leaves out. When
    a file is read: label maps with labels beyond the classes, of more than 8 bits, of
    another size than the image, or in colours; images that cannot be read. Each stops
    with a sentence that names the file.

    ``tools/train.py`` and ``tools/test.py`` add it to any config.

    Example::

        custom_hooks = [dict(type="lbbt_mm.CheckDataHook")]
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Runner) -> None:
        """Look at the datasets that are built by now, before their workers start.

        Raises:
            CategoryError: Boxes would be left out.
        """
        for loop in loops_of(runner):
            loader: Any = getattr(loop, "dataloader", None)
            if loader is not None:
                guard_dataset(loader.dataset)
