"""Every family in two processes: the gradients of one process with both halves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import transformers as hf
from forked import spawn_two
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from lbbt_mm.language.families import FAMILIES, SAME_FAMILY
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone

sys.path.append(str(Path(__file__).parents[1] / "language"))
import tiny  # noqa: E402
from registry import OVER_TRANSFORMERS, tiny_config  # noqa: E402

pytestmark = pytest.mark.slow


def backbone(source: str) -> Any:
    torch.manual_seed(0)
    model = LanguageBackbone(
        source, img_size=32, patch_size=8, out_type="raw", drop_rate=0.0
    )
    model.init_weights()
    return model


def gradients(model: Any, images: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(images)[0].square().mean().backward()
    return {
        name.removeprefix("module."): parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def one_of_two(rank: int, folder: Path, names: list[str]) -> None:
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    torch.manual_seed(1)
    images = torch.randn(4, 3, 32, 32)
    for name in names:
        model = backbone(str(folder / name))
        expected = gradients(model, images)
        # In the second step DDP would stop if a parameter had got no gradient.
        wrapped = DistributedDataParallel(model)
        for _ in range(2):
            found = gradients(wrapped, images.chunk(2)[rank])
        torch.save(dict(found=found, expected=expected), folder / f"{name}{rank}.pth")
    dist.barrier()


def test_gradients_of_two_processes(tmp_path: Path) -> None:
    tables = [*FAMILIES, *SAME_FAMILY]
    for name in tables:
        tiny.save(tiny.build(name), tmp_path / name, "folder")
    for name in OVER_TRANSFORMERS:
        config = hf.AutoConfig.for_model(**tiny_config(name))
        hf.AutoModel.from_config(config).save_pretrained(tmp_path / name)
    names = [*tables, *OVER_TRANSFORMERS]
    spawn_two(one_of_two, tmp_path, names)
    for name in names:
        one, other = (torch.load(tmp_path / f"{name}{rank}.pth") for rank in (0, 1))
        assert_close(one["found"], other["found"], rtol=0, atol=0)
        assert_close(one["found"], one["expected"], rtol=1e-3, atol=1e-5)
        assert len(one["found"]) > 20, name
