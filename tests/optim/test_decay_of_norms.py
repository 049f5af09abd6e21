"""Every family gets the same recipe: norms are norms to the stock constructors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from lbbt_mm.models import LanguageBackbone

# Two blocks of each: LayerNorm, LayerNorm after the addition, RMSNorm (one more for
# queries and keys in Qwen3).
MODELS = ["gpt2", "bert-base-uncased", "Qwen/Qwen3-8B", "meta-llama/Llama-3.2-1B"]
CONSTRUCTORS = {
    "DefaultOptimWrapperConstructor": {},
    "mmpretrain.LearningRateDecayOptimWrapperConstructor": dict(layer_decay_rate=0.5),
    "mmseg.ForceDefaultOptimWrapperConstructor": {},
}


class Model(nn.Module):
    def __init__(self, language_model: str) -> None:
        super().__init__()
        with torch.device("meta"):
            self.backbone = LanguageBackbone(
                language_model, pretrained=False, num_layers=2
            )

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """As mmpretrain's classifiers have it."""
        return self.backbone.get_layer_depth(name, "backbone.")


def without_decay(model: nn.Module, constructor: str, **paramwise: Any) -> set[str]:
    """Names that a stock constructor spares from weight decay."""
    import mmpretrain.engine  # noqa: F401
    import mmseg.engine  # noqa: F401

    config = dict(
        type=constructor,
        optim_wrapper_cfg=dict(
            type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, weight_decay=0.1)
        ),
        paramwise_cfg={**CONSTRUCTORS[constructor], **paramwise},
    )
    groups = OPTIM_WRAPPER_CONSTRUCTORS.build(config)(model).optimizer.param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    grouped = {names[p]: g["weight_decay"] for g in groups for p in g["params"]}
    assert len(grouped) == len(names)
    return {name for name, decay in grouped.items() if decay == 0}


def norms(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters() if "_norm." in name}


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
@pytest.mark.parametrize("language_model", MODELS)
def test_norm_decay_mult_spares_all_norms_alone(language_model, constructor) -> None:
    model = Model(language_model)
    found = without_decay(model, constructor, norm_decay_mult=0.0)
    assert found == norms(model)
    assert len(found) >= 4
    # Multipliers of biases and of what is flat count too.
    flat = {name for name, p in model.named_parameters() if p.ndim == 1}
    assert without_decay(model, constructor, flat_decay_mult=0.0) == flat
    both = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
    assert without_decay(model, constructor, **both) == flat


def test_gpt2_and_llama_share_a_recipe() -> None:
    """Same names for what both have; GPT-2's norms have a bias besides."""
    gpt2, llama = (
        without_decay(
            Model(name), "DefaultOptimWrapperConstructor", norm_decay_mult=0.0
        )
        for name in ("gpt2", "meta-llama/Llama-3.2-1B")
    )
    assert llama == {name for name in gpt2 if not name.endswith(".bias")}


class Norms(nn.Module):
    """Norms of transformers and torch beside what is none."""

    def __init__(self) -> None:
        super().__init__()
        from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
        from transformers.models.t5.modeling_t5 import T5LayerNorm

        self.of_qwen3 = Qwen3RMSNorm(8)
        self.of_t5 = T5LayerNorm(8)
        self.of_torch = nn.RMSNorm(8) if hasattr(nn, "RMSNorm") else nn.LayerNorm(8)
        self.without_weights = nn.LocalResponseNorm(2)
        self.normed_linear = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        return 0, 1


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_norms_of_other_libraries_are_norms(constructor) -> None:
    model = Norms()
    kinds = [type(module) for module in model.modules()]
    found = without_decay(model, constructor, norm_decay_mult=0.0)
    assert {name for name in found if name.startswith("of_")} == found
    assert {"of_qwen3.weight", "of_t5.weight", "of_torch.weight"} <= found
    assert [type(module) for module in model.modules()] == kinds
