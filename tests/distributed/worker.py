"""Started by torch.distributed.run in two processes: worker.py FOLDER."""

import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before mmengine looks for a device
sys.modules["mmdet"] = None  # mmpretrain imports it if it can, for ten seconds

import experiment  # noqa: E402
import mmengine._strategy.base  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import runner  # noqa: E402

if __name__ == "__main__":
    # What only the log shows takes most of the time of so small a run.
    Config.pretty_text = property(lambda cfg: "")
    runner.collect_env = mmengine._strategy.base.collect_env = dict
    experiment.run_all(Path(sys.argv[1]))
