"""A file of GPT-2's full size, through the paper's config, into every layer of DETR."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch import Tensor

from lbbt_mm.language import open_checkpoint
from lbbt_mm.transplant import make_plan
from lbbt_mm.transplant.meta_model import build_on_meta_device

from shipped import CONFIGS, load  # isort: skip

# A tensor of a GPT-2 block -> where it goes in a layer; `*` is weight or bias. Conv1D
# keeps (in, out), Linear (out, in). mmcv's attention has weight and bias of its input
# projection under names of their own.
ATTENTION = {"attn.c_attn": "attn.in_proj_*", "attn.c_proj": "attn.out_proj.*"}
FFN = {"mlp.c_fc": "ffn.layers.0.0.*", "mlp.c_proj": "ffn.layers.1.*"}


@pytest.fixture
def gpt2(tmp_path: Path) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    """Half a gigabyte in the format of `gpt2`, gone after the test; and its tensors."""
    with torch.device("meta"):
        model = hf.GPT2Model(hf.GPT2Config())
    model.to_empty(device="cpu")
    for parameter in [*model.h.parameters(), *model.ln_f.parameters()]:
        # Fast, and no two numbers of a tensor next to each other are equal.
        parameter.data.view(torch.int32).random_(0x3C000000, 0x3D000000)
    folder = tmp_path / "gpt2"
    model.save_pretrained(folder)
    yield folder, model.state_dict()
    shutil.rmtree(folder)


def expected(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor that must be in the DETR, made without the package."""
    found = {}

    def put(name: str, target: str) -> None:
        for kind in ("weight", "bias"):
            tensor = tensors[f"{name}.{kind}"]
            found[target.replace("*", kind)] = (
                tensor.t() if tensor.ndim == 2 else tensor
            )

    for i in range(12):
        for stack, norms in dict(
            encoder={"ln_1": [0], "ln_2": [1]},
            decoder={"ln_1": [0, 1], "ln_2": [2]},  # the second: of cross-attention
        ).items():
            layer = f"{stack}.layers.{i}"
            for norm, places in norms.items():
                for place in places:
                    put(f"h.{i}.{norm}", f"{layer}.norms.{place}.*")
            for name, target in ATTENTION.items():
                put(f"h.{i}.{name}", f"{layer}.self_attn.{target}")
                if stack == "decoder":
                    put(f"h.{i}.{name}", f"{layer}.cross_attn.{target}")
            for name, target in FFN.items():
                put(f"h.{i}.{name}", f"{layer}.{target}")
    for stack in ("encoder", "decoder"):
        put("ln_f", f"{stack}.post_norm.*")
    return found


@torch.no_grad()
def test_every_mapped_tensor_of_a_full_size_file(gpt2) -> None:
    folder, tensors = gpt2
    cfg = load(CONFIGS / "detr_gpt2init.py")
    model = build_on_meta_device(cfg).to_empty(device="cpu")
    copies = cfg.custom_hooks[-1].copies
    plan = make_plan(model, open_checkpoint(str(folder)), copies)
    before = {name: p.clone() for name, p in model.backbone.named_parameters()}
    report = plan.apply(model)

    wanted, parameters = expected(tensors), dict(model.named_parameters())
    assert {row["parameter"] for row in report.copied} == set(wanted)
    # 12 x (12 + 18) of the layers, 4 of the last norms.
    assert len(wanted) == 364
    for name, tensor in wanted.items():
        assert torch.equal(parameters[name], tensor), name
    numbers = sum(tensor.numel() for tensor in wanted.values())
    layers = [*model.encoder.parameters(), *model.decoder.parameters()]
    assert numbers == sum(p.numel() for p in layers)
    for name, p in model.backbone.named_parameters():
        assert torch.equal(p.view(torch.int32), before[name].view(torch.int32)), name
