"""Started in two processes: llava_worker.py FOLDER MODEL."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "tools"))

import _processes  # noqa: E402
import llava_tiny  # noqa: E402
import torch  # noqa: E402
from mmengine.dist import get_rank  # noqa: E402

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    cfg = llava_tiny.run_config(
        folder,
        sys.argv[2],
        "two",
        train_dataloader__batch_size=1,
        **llava_tiny.ONE_BATCH_OF_TWO,
    )
    _processes.prepare_launch(cfg, "pytorch")
    done, steps = llava_tiny.run_recorded(cfg)
    found = dict(steps=steps, weights=llava_tiny.weights_of(done))
    torch.save(found, folder / f"rank{get_rank()}.pth")
    _processes.end_process()
