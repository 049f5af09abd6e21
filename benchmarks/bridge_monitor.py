"""What BridgeMonitorHook costs a training, against the same training without it.

The 8-block SmolLM2 bridge of configs/bridge trains on random images, from random
weights of the same architecture. In each round it trains without the hook, then with
it; the hook records at step 0, every --interval iterations and after the last one. From
the seconds of an iteration and of a record follows the share at the default interval.
Baseline: the training without the hook.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
LEAF = "configs/bridge/smollm2-b8_scratch_random100_6e_fashion-mnist.py"


def register_images() -> None:
    """Make `RandomImages` known: grey images as a pipeline packs them."""
    import torch
    from mmengine.registry import DATASETS
    from mmpretrain.structures import DataSample

    class RandomImages(torch.utils.data.Dataset):
        def __init__(self, count: int) -> None:
            self.images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8)

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> dict[str, Any]:
            sample = DataSample().set_gt_label(index % 10)
            return dict(inputs=self.images[index], data_samples=sample)

    DATASETS.register_module(module=RandomImages)


def measure(hook: dict | None, iterations: int, batch_size: int) -> dict:
    """Train once.

    Args:
        hook: Config of the hook, or None.
        iterations: To train.
        batch_size: Images in a batch.

    Returns:
        Seconds of the training, and of each record.
    """
    import torch
    from mmengine.config import Config
    from mmengine.runner import Runner

    cfg = Config.fromfile(ROOT / LEAF)
    images = iterations * batch_size
    cfg.train_dataloader.dataset = dict(type="RandomImages", count=images)
    cfg.train_dataloader.batch_size = batch_size
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.train_cfg = dict(by_epoch=False, max_iters=iterations)
    cfg.merge_from_dict({"optim_wrapper.optimizer.fused": torch.cuda.is_available()})
    cfg.param_scheduler = []
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = None
    cfg.custom_hooks = [hook] if hook else []
    cfg.log_level = "WARNING"
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.experiment_name = f"run_{time.time_ns()}"
        runner = Runner.from_cfg(cfg)
        clock = Clock()
        runner.register_hook(clock.first, priority="HIGHEST")
        runner.register_hook(clock.last, priority="LOWEST")
        recorded: list[float] = []
        original = runner.visualizer.add_scalars

        def add_scalars(scalars: dict, *args: Any, **kwargs: Any) -> None:
            if "monitor/seconds" in scalars:
                recorded.append(scalars["monitor/seconds"])
            original(scalars, *args, **kwargs)

        runner.visualizer.add_scalars = add_scalars
        runner.train()
    return dict(seconds=clock.seconds, records=recorded)


class Clock:
    """From before the first hook of `before_train` to after the last of `after_train`.

    Preparing the fixed images is inside, initialising the weights is not.
    """

    def __init__(self) -> None:
        from mmengine.hooks import Hook

        clock = self

        class First(Hook):
            def before_train(self, runner: Any) -> None:
                clock._start = time.perf_counter()

        class Last(Hook):
            def after_train(self, runner: Any) -> None:
                clock.seconds = time.perf_counter() - clock._start

        self.first, self.last = First(), Last()


def measure_counting(runs: int) -> dict[str, float]:
    """Count the outliers of one matrix, as the hook and as the analysis does.

    Args:
        runs: To take the median of.

    Returns:
        Seconds of either.
    """
    import torch

    from lbbt_mm.analysis.during_training import count_outliers
    from lbbt_mm.analysis.outliers import weight_statistics

    matrix = 0.02 * torch.randn(1024, 4096)
    matrix[0, 0] = 2.0  # so that both thresholds are counted
    seconds: dict[str, list[float]] = {}
    for _ in range(runs):
        for name, function in (
            ("counted by the hook", count_outliers),
            ("by weight_statistics", weight_statistics),
        ):
            start = time.perf_counter()
            function([("h.0.up.weight", matrix)])
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--interval", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()

    import torch
    from mmengine.registry import init_default_scope

    from lbbt_mm.hooks import BridgeMonitorHook

    init_default_scope("mmpretrain")
    torch.set_num_threads(1)
    register_images()
    monitor = dict(type="lbbt_mm.BridgeMonitorHook", interval=args.interval)
    found: dict[str, list[dict]] = {"without": [], "with": []}
    for _ in range(args.runs):
        for name, hook in (("without", None), ("with", monitor)):
            one = measure(hook, args.iterations, args.batch_size)
            found[name].append(one)
            print(f"  {name:<8} {one}", file=sys.stderr)
    seconds = {k: statistics.median(r["seconds"] for r in v) for k, v in found.items()}
    records = [s for run in found["with"] for s in run["records"]]
    record = statistics.median(records)
    iteration = seconds["without"] / args.iterations
    default = BridgeMonitorHook().interval
    number = len(found["with"][0]["records"])
    print(f"median of {args.runs}, {args.iterations} iterations, seconds")
    print(f"{'without the hook':<44}{seconds['without']:>9.2f}")
    print(f"{f'with the hook, {number} records':<44}{seconds['with']:>9.2f}")
    print(f"{'an iteration':<44}{iteration:>9.4f}")
    print(f"{'a record':<44}{record:>9.4f}")
    share = record / (default * iteration)
    for name, found_seconds in measure_counting(args.runs).items():
        print(f"{'a 1024 x 4096 matrix, ' + name:<44}{found_seconds:>9.4f}")
    print(f"{f'share at the default interval of {default}':<44}{share:>9.1%}")


if __name__ == "__main__":
    main()
