"""Models, steps and runs that ``benchmarks/gpu.py`` measures."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from _gpu_machine import Machine
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

CLASSES = 100


def our_model(machine: Machine, plain: bool = False, **backbone: Any) -> nn.Module:
    """Give a classifier on our backbone, on the device and in training mode.

    Args:
        machine: Keeps it.
        plain: With mmpretrain's own preprocessor and loss.
        **backbone: Options of the backbone.
    """
    init_default_scope("mmpretrain")
    key = "ours", plain, tuple(backbone.items())
    return machine.keep(key, lambda: classifier(machine, plain, **backbone))


def classifier(machine: Machine, plain: bool, **backbone: Any) -> nn.Module:
    """Build what :func:`our_model` gives, as the shipped configs do."""
    import transformers
    from mmpretrain.registry import MODELS

    sizes, scope = machine.sizes, "mmpretrain" if plain else "lbbt_mm"
    folder = machine.folder / "language_model"
    transformers.GPT2Config(**gpt2(sizes), architectures=["GPT2Model"]).save_pretrained(
        folder
    )
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            data_preprocessor=dict(
                type=f"{scope}.ClsDataPreprocessor",
                mean=[127.5] * 3,
                std=[64.0] * 3,
                num_classes=CLASSES,
            ),
            backbone=dict(
                type="lbbt_mm.LanguageBackbone",
                language_model=str(folder),
                pretrained=False,
                img_size=sizes["image"],
                patch_size=sizes["patch"],
                **backbone,
            ),
            head=dict(
                type="LinearClsHead",
                num_classes=CLASSES,
                in_channels=sizes["width"],
                cal_acc=True,
                loss=dict(
                    type=f"{scope}.LabelSmoothLoss",
                    label_smooth_val=0.1,
                    mode="original",
                ),
            ),
        )
    )
    model.init_weights()
    return model


def gpt2(sizes: dict[str, Any]) -> dict[str, Any]:
    """Sizes in transformers' words; the words themselves are none of the model's."""
    keys = dict(n_layer="blocks", n_embd="width", n_head="heads")
    return dict(vocab_size=64, **{theirs: sizes[ours] for theirs, ours in keys.items()})


class Plain(nn.Module):
    """transformers' blocks between a patch embedding and a head."""

    def __init__(self, sizes: dict[str, Any], dropout: float) -> None:
        super().__init__()
        import transformers

        rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
        patch = sizes["patch"]
        self.embed = nn.Conv2d(3, sizes["width"], patch, stride=patch)
        self.text = transformers.GPT2Model(
            transformers.GPT2Config(**gpt2(sizes), **rates)
        )
        self.head = nn.Linear(sizes["width"], CLASSES)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss."""
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        hidden = self.text(inputs_embeds=tokens, use_cache=False).last_hidden_state
        scores = self.head(hidden[:, -1])
        return F.cross_entropy(scores, labels, label_smoothing=0.1)


def plain_step(machine: Machine, batch: int, dropout: float) -> Callable[[], Any]:
    """One training step of :class:`Plain`."""
    key = "transformers", dropout
    model = machine.keep(key, lambda: Plain(machine.sizes, dropout))
    # Word embeddings have no gradient here, and are no part of the other arms.
    used = [p for name, p in model.named_parameters() if "wte" not in name]
    optimizer = torch.optim.AdamW(used, 1e-4, fused=True)
    images, labels = noise(machine, batch)

    def step() -> None:
        with torch.autocast(machine.device, torch.bfloat16):
            loss = model(images, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(used, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def our_step(model: nn.Module, machine: Machine, batch: int) -> Callable[[], Any]:
    """One training step of our model and optimiser wrapper, without a Runner."""
    from mmpretrain.structures import DataSample

    from lbbt_mm.optim import AutocastOptimWrapper

    wrapper = AutocastOptimWrapper(
        optimizer=torch.optim.AdamW(trained(model), 1e-4, fused=True),
        clip_grad=dict(max_norm=1.0),
    )
    images, labels = noise(machine, batch)
    samples = [DataSample().set_gt_label(label[None]) for label in labels]

    def step() -> None:
        with wrapper.optim_context(model):
            loss = model(images, samples, mode="loss")["loss"]
        wrapper.update_params(loss)

    return step


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that have gradients."""
    return [p for p in model.parameters() if p.requires_grad]


def noise(machine: Machine, batch: int) -> tuple[Tensor, Tensor]:
    """Images as a preprocessor hands them on, and labels."""
    side = machine.sizes["image"]
    images = torch.randn(batch, 3, side, side, device=machine.device)
    return images, torch.randint(CLASSES, (batch,), device=machine.device)


def encoder_steps(
    machine: Machine, kind: str, dropout: float
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A training step and an inference of DETR's encoder; the last image is padded."""
    from mmdet.models.layers import DetrTransformerEncoder

    from lbbt_mm.models.detection.fused_detr import FusedEncoder

    sizes = machine.sizes["detr"]
    width, batch = sizes["width"], sizes["batch_size"]
    tokens = sizes["rows"] * sizes["columns"]
    attention = dict(embed_dims=width, num_heads=sizes["heads"], dropout=dropout)
    ffn = dict(embed_dims=width, feedforward_channels=4 * width, ffn_drop=dropout)
    layer = dict(self_attn_cfg=dict(attention, batch_first=True), ffn_cfg=ffn)
    encoder = (FusedEncoder if kind == "ours" else DetrTransformerEncoder)(
        num_layers=sizes["layers"], layer_cfg=layer
    ).to(machine.device)
    query, positions = torch.randn(2, batch, tokens, width, device=machine.device)
    padding = torch.zeros(batch, tokens, dtype=torch.bool, device=machine.device)
    padding[-1, tokens * 4 // 5 :] = True
    optimizer = torch.optim.AdamW(encoder.parameters(), fused=True)

    def forward() -> Tensor:
        with torch.autocast(machine.device, torch.bfloat16):
            return encoder(query, positions, padding)

    def train() -> None:
        encoder.train()
        forward().float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def infer() -> Tensor:
        encoder.eval()
        return forward()

    return train, infer


class Noise(torch.utils.data.Dataset):
    """Images that cost nothing, or the shipped pipeline on files."""

    def __init__(self, count: int, side: int, files: list[str] | None = None) -> None:
        from mmcv.transforms import Compose

        self.count, self.files = count, files
        self.image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
        crop = dict(type="RandomResizedCrop", scale=side, backend="pillow")
        steps = [
            dict(type="LoadImageFromFile"),
            dict(crop, interpolation="bicubic"),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ]
        self.pipeline = Compose(steps)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmpretrain.structures import DataSample

        if self.files:
            path = self.files[index % len(self.files)]
            return self.pipeline(dict(img_path=path, gt_label=index % CLASSES))
        label = DataSample().set_gt_label(index % CLASSES)
        return dict(inputs=self.image, data_samples=label)


class Clock(Hook):
    """Times iterations as the device sees them, or profiles them."""

    priority = "LOWEST"

    def __init__(self, machine: Machine, warm: int, trace: Path | None = None) -> None:
        self.machine, self.warm, self.trace = machine, warm, trace
        self.stamps: list[Any] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, *args: Any, **_: Any):
        """Start after the warm-up."""
        if batch_idx + 1 == self.warm and self.trace:
            self.machine.wait()
            kinds = [ProfilerActivity.CPU]
            kinds += [ProfilerActivity.CUDA] * self.machine.on_gpu
            self.profile = profile(activities=kinds)
            self.profile.__enter__()
        if batch_idx + 1 >= self.warm:
            self.stamps.append(self.machine.stamp())

    def after_train_epoch(self, runner: Runner) -> None:
        """Write the trace."""
        if self.trace:
            self.profile.__exit__(None, None, None)
            self.profile.export_chrome_trace(str(self.trace))


def runner_of(
    machine: Machine, batch: int, steps: int, plain: bool = False,
    files: list[str] | None = None, workers: int = 0, model: nn.Module | None = None,
    trace: Path | None = None, warm: int = 2, **hooks: Any,
) -> tuple[Runner, Clock]:  # fmt: skip
    """A Runner with the shipped runtime's hooks, or with mmengine's own."""
    init_default_scope("mmpretrain")
    clock = Clock(machine, warm, trace)
    machine.runs += 1
    info = {} if plain else dict(type="lbbt_mm.DeferredLogHook", interval=steps)
    # mmengine's own needs a GPU, and scales the loss whatever the precision.
    amp = dict(type="AmpOptimWrapper", loss_scale=1.0)
    low = amp if plain and machine.on_gpu else dict(type="lbbt_mm.AutocastOptimWrapper")
    side = machine.sizes["image"]
    runner = Runner(
        model if model is not None else our_model(machine, plain),
        str(machine.folder / f"run_{machine.runs}"),
        train_dataloader=dict(
            dataset=Noise(batch * (steps + warm), side, files),
            sampler=dict(type="DefaultSampler", shuffle=False),
            batch_size=batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(
            **low,
            dtype="bfloat16",
            optimizer=dict(type="AdamW", lr=1e-4, fused=True),
            clip_grad=dict(max_norm=1.0),
        ),
        default_hooks=dict(
            dict(checkpoint=None, logger=dict(type="LoggerHook", interval=steps)),
            **(dict(runtime_info=info) if info else {}),
            **hooks,
        ),
        custom_hooks=[clock] + ([] if plain else [dict(type="lbbt_mm.ThroughputHook")]),
        default_scope="mmpretrain",
        experiment_name=f"gpu_{os.getpid()}_{machine.runs}",
        log_level="ERROR",
    )
    return runner, clock
