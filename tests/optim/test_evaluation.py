"""A validation computes in the precision of the training, and says the same."""

from __future__ import annotations

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import LOOPS
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.hooks import TensorFloatHook


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.seen: list[tuple[torch.dtype, torch.dtype]] = []

    def forward(self, inputs, data_samples=None, mode="tensor"):
        out = self.linear(torch.stack(inputs))
        self.seen.append((out.dtype, torch.get_autocast_dtype("cuda")))
        return [{}]


def evaluate(tmp_path, kind: str, **settings) -> list:
    loader = dict(
        dataset=[dict(inputs=torch.randn(4))],
        sampler=dict(type="DefaultSampler", shuffle=False),
    )
    loop = dict(type=f"lbbt_mm.Autocast{kind.title()}Loop", **settings)
    runner = Runner(
        Toy(),
        str(tmp_path),
        **{
            f"{kind}_dataloader": loader,
            f"{kind}_cfg": loop,
            f"{kind}_evaluator": Evaluator([]),
        },
        experiment_name=tmp_path.name,
    )
    getattr(runner, kind)()
    return runner.model.seen


@pytest.mark.parametrize("kind", ["val", "test"])
def test_products_are_in_bfloat16_on_both_devices(tmp_path, kind) -> None:
    before = torch.get_autocast_dtype("cuda")
    assert before is torch.float16  # what mmengine's own fp16=True would use
    # The second is what mmengine's loop takes on a GPU.
    assert evaluate(tmp_path, kind) == [(torch.bfloat16, torch.bfloat16)]
    assert torch.get_autocast_dtype("cuda") is before


@pytest.mark.parametrize("kind", ["val", "test"])
def test_float32_switches_it_off(tmp_path, kind) -> None:
    assert evaluate(tmp_path, kind, dtype="float32")[0][0] is torch.float32


def test_another_precision_is_refused() -> None:
    loop = dict(type="lbbt_mm.AutocastValLoop", dtype="float16")
    arguments = dict(runner=None, dataloader=None, evaluator=None)
    with pytest.raises(ValueError, match="one of .* got 'float16'. float16 needs mm"):
        LOOPS.build(loop, default_args=arguments)


@pytest.mark.parametrize(("enabled", "wanted"), [(True, "high"), (False, "highest")])
def test_tensor_floats_are_for_gpus(monkeypatch, enabled, wanted) -> None:
    said: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    TensorFloatHook(enabled).before_run(None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert said == []
    TensorFloatHook(enabled).before_run(None)
    assert said == [wanted]
