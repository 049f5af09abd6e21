"""The hook looks at what a run has built, and only at that."""

from __future__ import annotations

from types import SimpleNamespace

from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import HOOKS

from lbbt_mm.datasets.checks.guard import GuardedPipeline


class Dataset(BaseDataset):
    """One image."""

    def load_data_list(self):
        return [dict(img_path="a.png")]


def loop(dataset):
    return SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))


def test_datasets_are_guarded_once():
    train, val = (Dataset(pipeline=[lambda info: info]) for _ in range(2))
    runner = SimpleNamespace(
        _train_loop=loop(train), _val_loop=loop(val), _test_loop=dict(type="TestLoop")
    )
    hook = HOOKS.build(dict(type="lbbt_mm.CheckDataHook"))
    for _ in range(2):
        hook.before_run(runner)
    for dataset in (train, val):
        assert type(dataset.pipeline) is GuardedPipeline
        assert isinstance(dataset.pipeline, Compose)
        assert dataset[0]["img_path"] == "a.png"
