"""Started by torch.distributed.run in two processes: llava_worker.py FOLDER MODEL."""

import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before mmengine looks for a device
sys.modules["mmdet"] = None  # mmpretrain imports it if it can, for ten seconds

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "tools"))

import _launch  # noqa: E402
import llava_tiny  # noqa: E402
import mmengine._strategy.base  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dist import get_rank  # noqa: E402
from mmengine.runner import runner  # noqa: E402

if __name__ == "__main__":
    # What only the log shows takes most of the time of so small a run.
    Config.pretty_text = property(lambda cfg: "")
    runner.collect_env = mmengine._strategy.base.collect_env = dict
    folder = Path(sys.argv[1])
    cfg = llava_tiny.run_config(
        folder,
        sys.argv[2],
        "two",
        train_dataloader__batch_size=1,
        **llava_tiny.ONE_BATCH_OF_TWO,
    )
    _launch.prepare_launch(cfg, "pytorch")
    done, steps = llava_tiny.run_recorded(cfg)
    found = dict(steps=steps, weights=llava_tiny.weights_of(done))
    torch.save(found, folder / f"rank{get_rank()}.pth")
    _launch.end_process()
