"""Rows of training steps: a whole bridge, a part of it, and how it grows.

Baseline of `bridge-step`: transformers' blocks in a plain loop. Both sides have the
same images and labels, patch embedding, blocks (the same weights), linear head on the
last token, AdamW, clipping, dropout and bfloat16 autocast; in eval mode their losses
agree.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable
from typing import Any

from measure import Case, agree

# name: (family, blocks, width, heads, key-value heads, FFN width,
#        channels, image, patch, batch)
SETTINGS = {
    "smollm2": ("llama", 8, 576, 9, 3, 1536, 1, 28, 7, 32),
    "gpt2": ("gpt2", 12, 768, 12, 12, 3072, 3, 224, 16, 8),
    "small": ("gpt2", 6, 384, 6, 6, 1536, 3, 28, 4, 32),
    "medium": ("gpt2", 24, 1024, 16, 16, 4096, 3, 112, 16, 8),
}
WORDS = {
    "smollm2": "the quickstart's: SmolLM2, 8 x 576, 16 tokens, batch 32",
    "gpt2": "12 x 768, 196 tokens, batch 8, dropout {}",
    "small": "6 x 384, 49 tokens, batch 32, dropout {}",
}


def cases() -> list[Case]:
    """The shipped setting first, then the issue's."""
    goals = {
        ("smollm2", 0.0): "",
        ("gpt2", 0.1): ">= 1.8",
        ("gpt2", 0.0): ">= 1.7",
        ("small", 0.1): ">= 2",
        ("small", 0.0): ">= 2",
    }
    found = []
    for (setting, dropout), goal in goals.items():
        build = functools.cache(functools.partial(pair, setting, dropout))
        _, blocks, width, *_, image, patch, batch = SETTINGS[setting]
        tokens = (image // patch) ** 2
        found.append(
            Case(
                name=WORDS[setting].format(dropout),
                baseline="transformers' blocks in a plain loop",
                goal=goal,
                before=">= 2" if setting == "smollm2" else "",
                arms={arm: picked(build, arm) for arm in ("baseline", "ours")},
                products=6 * batch * tokens * weights_and_tokens(setting, tokens),
                matrix=(batch * tokens, width, "bfloat16"),
            )
        )
    return found


def weights_and_tokens(setting: str, tokens: int) -> int:
    """Multiplications a token in the matrix products of all blocks."""
    family, blocks, width, heads, kv_heads, ffn, *_ = SETTINGS[setting]
    attention = 2 * width * width * (heads + kv_heads) // heads
    mlp = (3 if family == "llama" else 2) * width * ffn
    return blocks * (attention + mlp + 2 * tokens * width)


def picked(build: Callable[[], dict], arm: str) -> Callable[[], Callable[[], Any]]:
    """Build both sides once and hand out one of them."""
    return lambda: build()[arm]


def language_model(setting: str, dropout: float) -> Any:
    """Build transformers' model of a setting, with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    family, blocks, width, heads, kv_heads, ffn, *_ = SETTINGS[setting]
    if family == "gpt2":
        drops = dict(resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout)
        config = transformers.GPT2Config(
            n_layer=blocks, n_embd=width, n_head=heads, vocab_size=100, **drops
        )
        return transformers.GPT2Model(config)
    config = transformers.LlamaConfig(
        num_hidden_layers=blocks,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=ffn,
        vocab_size=100,
    )
    return transformers.LlamaModel(config)


def bridge(setting: str, source: str, dropout: float, **options: Any) -> Any:
    """Build our model on the blocks of a language model."""
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    init_default_scope("mmpretrain")
    family, _, width, *_, channels, image, patch, _ = SETTINGS[setting]
    backbone = dict(
        type="lbbt_mm.LanguageBackbone",
        language_model=source,
        img_size=image,
        patch_size=patch,
        in_channels=channels,
        drop_rate=dropout if family == "gpt2" else None,
        **options,
    )
    head = dict(type="LinearClsHead", num_classes=10, in_channels=width)
    model = MODELS.build(dict(type="ImageClassifier", backbone=backbone, head=head))
    model.init_weights()
    return model.train()


def batch_of(setting: str, batch: int | None = None) -> tuple[Any, Any]:
    """Random images and labels."""
    import torch

    *_, channels, image, _, usual = SETTINGS[setting]
    number = batch or usual
    return torch.randn(number, channels, image, image), torch.randint(10, (number,))


def our_step(model: Any, images: Any, labels: Any) -> Callable[[], float]:
    """A step as mmengine's loop makes it."""
    import torch
    from mmpretrain.structures import DataSample

    from lbbt_mm.optim import AutocastOptimWrapper

    samples = [DataSample().set_gt_label(int(label)) for label in labels]
    trained = [p for p in model.parameters() if p.requires_grad]
    wrapper = AutocastOptimWrapper(
        optimizer=torch.optim.AdamW(trained, 1e-4, fused=True),
        clip_grad=dict(max_norm=1.0),
    )

    def step() -> float:
        with wrapper.optim_context(model):
            loss = model(images, samples, mode="loss")["loss"]
        wrapper.update_params(loss)
        return loss.item()

    return step


def pair(setting: str, dropout: float) -> dict[str, Callable[[], float]]:
    """Build both sides of a bridge's step, of the same weights."""
    import torch
    from torch.nn.functional import cross_entropy

    text = language_model(setting, dropout)
    with tempfile.TemporaryDirectory() as folder:
        text.save_pretrained(folder)
        model = bridge(setting, folder, dropout)
    images, labels = batch_of(setting)
    embed = copy.deepcopy(model.backbone.patch_embed)
    head = torch.nn.Linear(SETTINGS[setting][2], 10)
    head.load_state_dict(model.head.fc.state_dict())
    modules = torch.nn.ModuleList([embed, text, head])
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-4, fused=True)

    def loss_of() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            tokens = embed(images)[0]
            hidden = text(inputs_embeds=tokens, use_cache=False).last_hidden_state
            return cross_entropy(head(hidden[:, -1]), labels)

    def plain() -> float:
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    modules.eval(), model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ours = cross_entropy(model(images), labels)
        agree(setting, float(ours), float(loss_of()), 0.02)
    modules.train(), model.train()
    return dict(baseline=plain, ours=our_step(model, images, labels))


def partial_cases() -> list[Case]:
    """`first:5` of 24 blocks against all of them, with peak memory."""

    def arm(**options: Any) -> Callable[[], Callable[[], float]]:
        def build() -> Callable[[], float]:
            import mmpretrain.models  # noqa: F401  (its memory is not the step's)

            import lbbt_mm.optim  # noqa: F401

            @functools.cache
            def step() -> Callable[[], float]:
                scratch = dict(pretrained=False, **options)
                model = bridge("medium", "gpt2-medium", 0.0, **scratch)
                return our_step(model, *batch_of("medium"))

            return lambda: step()()

        return build

    options = {
        "": dict(trainable_layers="first:5"),
        ", the others in bfloat16": dict(
            trainable_layers="first:5", frozen_dtype="bfloat16"
        ),
    }
    return [
        Case(
            name=f"first:5 of GPT-2-medium's 24 blocks{words}",
            baseline="the same step with all blocks trained",
            goal="<= 0.71",
            memory="<= 0.5",
            arms=dict(baseline=arm(), ours=arm(**chosen)),
            calls=4,
        )
        for words, chosen in options.items()
    ]


def growth_cases() -> list[Case]:
    """Twice the batch, twice the depth: twice the work, or less."""

    def step(blocks: int, batch: int) -> Callable[[], Callable[[], float]]:
        def build() -> Callable[[], float]:
            scratch = dict(pretrained=False, num_layers=blocks)
            model = bridge("gpt2", "gpt2", 0.0, **scratch)
            return our_step(model, *batch_of("gpt2", batch))

        return build

    def case(name: str, ours: tuple[int, int]) -> Case:
        arms = dict(baseline=step(4, 2), ours=step(*ours))
        half = "half as much, times 2"
        return Case(f"a step, {name} doubled", half, "<= 1.1", arms, factor=2)

    return [case("batch", (4, 4)), case("depth", (8, 2))]
