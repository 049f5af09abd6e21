"""ShardedStrategy in one process; tests/distributed runs it in two."""

from __future__ import annotations

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, OPTIM_WRAPPERS, STRATEGIES
from torch import nn
from torch.testing import assert_close

from lbbt_mm.models import LanguageBackbone
from lbbt_mm.optim import sharded
from lbbt_mm.optim.sharded import ShardedStrategy

SCRATCH = dict(language_model="distilgpt2", pretrained=False, num_layers=2)


@pytest.fixture
def strategy() -> ShardedStrategy:
    """As it is before it has seen a model, without the processes it insists on."""
    bare = ShardedStrategy.__new__(ShardedStrategy)
    bare.skip_init_weights = False
    bare._seed = 0
    bare.dispatch_kwargs = {}
    return bare


def test_one_process_is_told_to_be_several(tmp_path) -> None:
    cfg = dict(type="lbbt_mm.ShardedStrategy", work_dir=str(tmp_path))
    with pytest.raises(RuntimeError, match="expects several.*tools/dist_train.sh"):
        STRATEGIES.build(cfg)


def test_policies_find_the_blocks() -> None:
    wrap = FUNCTIONS.get("lbbt_mm.wrap_language_blocks")
    check = FUNCTIONS.get("lbbt_mm.is_language_block")
    with torch.device("meta"):
        backbone = LanguageBackbone(**SCRATCH)
    blocks = [m for m in backbone.modules() if check(m)]
    assert blocks == list(backbone.language.blocks)
    assert [m for m in backbone.modules() if wrap(m, False, 0)] == blocks
    assert all(wrap(m, True, 0) for m in backbone.modules())


@pytest.mark.parametrize("main", [True, False])
def test_only_the_first_process_draws(strategy, monkeypatch, main: bool) -> None:
    """From scratch: the constructor fills the memory it gets, here full of 7."""
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **k).fill_(7))
    monkeypatch.setattr(sharded, "is_main_process", lambda: main)
    model = strategy.build_model(dict(type="lbbt_mm.LanguageBackbone", **SCRATCH))
    for block in model.language.blocks:
        for linear in (block.qkv, block.out, block.up, block.down):
            assert bool((linear.weight == 7).all()) != main
    weight = nn.init.normal_(torch.zeros(1))
    assert weight != 0  # only while it is built


@pytest.mark.parametrize("main", [True, False])
def test_only_the_first_process_reads(strategy, monkeypatch, main: bool) -> None:
    """The others have nothing to read, and take part in the forward pass all the same.

    With ``init_weights_for_test_or_val=False`` nobody reads: a checkpoint follows.
    """
    monkeypatch.setattr(sharded, "is_main_process", lambda: main)
    missing = dict(SCRATCH, pretrained=True)
    model = strategy.build_model(LanguageBackbone(**missing))
    read = []
    monkeypatch.setattr(model, "init_weights", lambda: read.append(True))
    strategy._init_model_weights(model)
    assert read == [True] * main
    nn.Module.to_empty(model, device="cpu").requires_grad_(False)
    assert model(torch.zeros(1, 3, 32, 32))[0].shape == (1, 768)
    strategy.dispatch_kwargs["init_weights_for_test_or_val"] = False
    strategy._init_model_weights(model)
    assert read == [True] * main


def test_clipping_by_one_shards_norm_is_refused(strategy) -> None:
    model = nn.Linear(2, 1)

    def build(kind: str, **clip) -> OptimWrapper:
        optimizer = dict(type="SGD", lr=0.1)
        cfg = dict(type=kind, optimizer=optimizer, clip_grad=clip or None)
        return strategy.build_optim_wrapper(cfg, model)

    with pytest.raises(ValueError, match="OptimWrapper clips.*AutocastOptimWrapper"):
        build("OptimWrapper", max_norm=1.0)
    assert build("OptimWrapper").clip_grad_kwargs is None
    assert build("OptimWrapper", type="value", clip_value=1.0).clip_grad_kwargs
    assert build("lbbt_mm.AutocastOptimWrapper", max_norm=1.0).clip_grad_kwargs


@pytest.mark.parametrize(("clip", "calls"), [("norm", 1), ("value", 0)])
def test_the_wrapper_lets_the_model_clip_its_shards(clip: str, calls: int) -> None:
    class Shards(nn.Linear):
        clipped = 0

        def clip_grad_norm_(self, max_norm: float) -> torch.Tensor:
            self.clipped += 1
            return torch.tensor(7.0)

    model = Shards(2, 1)
    options = {"norm": dict(max_norm=1.0), "value": dict(clip_value=1.0)}[clip]
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type="lbbt_mm.AutocastOptimWrapper",
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            clip_grad=dict(options, type=clip),
        )
    )
    with wrapper.optim_context(model):
        loss = model(torch.ones(1, 2)).sum()
    wrapper.update_params(loss)
    assert model.clipped == calls
    if calls:
        assert wrapper.message_hub.get_scalar("train/grad_norm").current() == 7


def test_a_checkpoint_is_written_whole_or_not_at_all(
    strategy, monkeypatch, tmp_path
) -> None:
    path = tmp_path / "epoch_1.pth"
    strategy.model_state_dict = lambda: {"weight": torch.ones(2)}
    strategy.save_checkpoint(str(path), extra_ckpt=dict(meta=dict(iter=3)))
    saved = torch.load(path, weights_only=True)
    assert_close(saved["state_dict"]["weight"], torch.ones(2))
    assert saved["meta"]["iter"] == 3 and saved["meta"]["seed"] == 0

    def full_disk(checkpoint, file) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        strategy.save_checkpoint(str(path))
    assert list(tmp_path.iterdir()) == [path]
    assert torch.load(path, weights_only=True)["meta"]["iter"] == 3
