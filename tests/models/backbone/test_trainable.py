"""What trains: parsed from one option, applied in the constructor, kept by train()."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.models import LanguageBackbone
from lbbt_mm.models.backbone.trainable import TrainableParts, parse_trainable

NEW = dict(patch_embed=True, prefix=True, lora=True)
ALL = dict(**NEW, positions=True, norms=True, final_norm=True)


def parts(*blocks: int, **more: bool) -> TrainableParts:
    return TrainableParts(frozenset(blocks), **more)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("all", parts(0, 1, 2, 3, **ALL)),
        ("none", parts()),
        ("first:2", parts(0, 1, **NEW)),
        ("last:1", parts(3, **NEW)),
        ("none+last:2", parts(2, 3)),
        ([0, 3], parts(0, 3, **NEW)),
        ("0+3", parts(0, 3, **NEW)),
        (["first:1", "norms"], parts(0, **NEW, norms=True)),
        ("first:1+positions", parts(0, **NEW, positions=True)),
        ("none+patch_embed", parts(patch_embed=True)),
        ("none+prefix", parts(prefix=True)),
        ("none+lora", parts(lora=True)),
        ("last:1 + final_norm", parts(3, **NEW, final_norm=True)),
    ],
)
def test_parse(spec, expected: TrainableParts) -> None:
    assert parse_trainable(spec, 4) == expected


def make(spec, **options) -> LanguageBackbone:
    sizes = dict(img_size=32, patch_size=16, num_layers=3, **options)
    return LanguageBackbone(
        "distilgpt2", pretrained=False, trainable_layers=spec, **sizes
    )


def trained(backbone: LanguageBackbone) -> set[str]:
    """Name the parts that get a gradient from a real backward pass."""
    (features,) = backbone(torch.randn(2, 3, 32, 32))
    if not features.requires_grad:
        return set()
    # A plain sum would have no gradient behind a layer norm.
    (features * torch.randn_like(features)).sum().backward()
    names = [n for n, p in backbone.named_parameters() if p.grad is not None]
    for name in names:
        assert dict(backbone.named_parameters())[name].requires_grad
    return {
        name.split(".blocks.")[1].split(".")[0] if ".blocks." in name else name
        for name in names
    }


EMBED = {"patch_embed.projection.weight", "patch_embed.projection.bias"}
NORM = {"language.final_norm.weight", "language.final_norm.bias"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("all", {"0", "1", "2", "language.positions"} | EMBED | NORM),
        ("none", set()),
        ("first:2", {"0", "1"} | EMBED),
        ("last:1", {"2"} | EMBED),
        ("none+last:1", {"2"}),
        ([1, "final_norm"], {"1"} | EMBED | NORM),
        ("none+positions", {"language.positions"}),
    ],
)
@pytest.mark.parametrize("with_cp", [False, True])
def test_exactly_the_named_parts_get_gradients(spec, expected, with_cp) -> None:
    backbone = make(spec, with_cp=with_cp)
    assert trained(backbone) == expected
    backbone.eval()
    backbone.train()
    backbone.zero_grad()
    assert trained(backbone) == expected


def test_every_trainable_parameter_gets_a_gradient() -> None:
    for spec in ("all", "first:1", "none+last:1+final_norm", "norms"):
        backbone = make(spec)
        trained(backbone)
        for name, parameter in backbone.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize("spec", ["all", "norms", "last:1+final_norm"])
def test_what_no_output_reads_does_not_train(spec: str) -> None:
    """DDP would wait for gradients that never come."""
    backbone = make(spec, out_indices=1, out_type="avg")
    trained(backbone)
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        unread = name.startswith(("language.blocks.2", "language.final_norm"))
        assert not (unread and parameter.requires_grad), name


def test_train_freezes_again_what_somebody_unfroze() -> None:
    backbone = make("first:1")
    backbone.requires_grad_(True)
    backbone.train()
    assert not backbone.language.blocks[2].qkv.weight.requires_grad


def test_dropout_of_frozen_blocks_stays_off() -> None:
    images = torch.randn(2, 3, 32, 32)
    frozen = make("none", drop_path_rate=0.5).train()
    assert_close(frozen(images), frozen(images), rtol=0, atol=0)
    half = make("first:1").train()
    modes = [block.training for block in half.language.blocks]
    assert modes == [True, False, False]


def test_dropout_of_frozen_blocks_on_demand() -> None:
    """As in the authors' code; nothing else of what is frozen changes."""
    images = torch.randn(2, 3, 32, 32)
    frozen = make("none", frozen_dropout=True).train()
    assert not torch.equal(frozen(images)[0], frozen(images)[0])
    assert not any(p.requires_grad for p in frozen.parameters())
    frozen.eval()
    assert_close(frozen(images), frozen(images), rtol=0, atol=0)
    with pytest.raises(ValueError, match="frozen_dropout"):
        make("none", frozen_dropout=1)


def test_a_frozen_prefix_runs_without_a_graph() -> None:
    seen: dict[int, bool] = {}

    def watch(backbone: LanguageBackbone) -> dict[int, bool]:
        for index, block in enumerate(backbone.language.blocks):
            block.register_forward_hook(
                lambda m, i, out, index=index: seen.update({index: out.requires_grad})
            )
        return seen

    images = torch.randn(1, 3, 32, 32)
    prefix = make("none+last:1")
    watch(prefix)
    prefix(images)
    assert seen == {0: False, 1: False, 2: True}
    # Gradients must pass the frozen blocks on their way to the patch embedding.
    passing = make("last:1")
    watch(passing)
    passing(images)
    assert seen == {0: True, 1: True, 2: True}
    # Or on their way to the images.
    watch(prefix)
    images.requires_grad_()
    prefix(images)[0].pow(2).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_a_frozen_prefix_is_not_recomputed(monkeypatch) -> None:
    from lbbt_mm.models.backbone import run_block

    recomputed = []
    monkeypatch.setattr(
        run_block,
        "recompute",
        lambda block, *args, **kwargs: recomputed.append(block) or block(*args),
    )
    backbone = make("none+last:1", with_cp=True)
    backbone(torch.randn(1, 3, 32, 32))
    assert recomputed == [backbone.language.blocks[2]]


def test_the_number_of_trainable_parameters_is_logged(capsys) -> None:
    from unittest.mock import patch

    with patch("lbbt_mm.models.backbone.trainable.print_log") as log:
        make("none")
        make("all")
    first, second = (call.args[0] for call in log.call_args_list)
    assert " 0.00 M of " in first and "distilgpt2" in first
    total = second.split(" M of ")[1].split(" ")[0]
    assert f"{total} M of {total} M parameters" in second


@pytest.mark.parametrize("spec", ["all", "norms"])
@pytest.mark.parametrize("mode", ["train", None])
def test_what_was_done_after_building_stands(spec: str, mode: str | None) -> None:
    """An adapter in a frozen block learns, and what it froze stays frozen."""
    from peft import LoraConfig, inject_adapter_in_model

    backbone = make(spec)
    layers = ["qkv", "out", "up", "down"]
    inject_adapter_in_model(
        LoraConfig(target_modules=layers, lora_dropout=0.5, init_lora_weights=False),
        backbone,
    )
    if mode:
        getattr(backbone, mode)()
    adapters = {n for n, _ in backbone.named_parameters() if "lora_" in n}
    assert len(adapters) == 24
    (features,) = backbone(torch.randn(2, 3, 32, 32))
    features.pow(2).sum().backward()
    learned = {n for n, p in backbone.named_parameters() if p.grad is not None}
    assert learned == adapters
    dropouts = [m for n, m in backbone.named_modules() if n.endswith("dropout.default")]
    assert len(dropouts) == 12
    assert all(m.training for m in dropouts)


def test_what_somebody_froze_stays_frozen() -> None:
    backbone = make("all")
    backbone.language.blocks[0].requires_grad_(False)
    backbone.patch_embed.requires_grad_(False)
    backbone.language.positions.requires_grad_(False)
    backbone.train()
    assert not {n for n in trained(backbone) if n == "0" or n in EMBED}


def test_frozen_weights_in_two_bytes_compute_the_same_under_autocast() -> None:
    torch.manual_seed(0)
    wide = make("first:1")
    held = make("first:1", frozen_dtype="bfloat16")
    wide.init_weights()
    held.load_state_dict(wide.state_dict())
    held._weights_ready = True
    dtypes = {n: p.dtype for n, p in held.language.blocks.named_parameters()}
    for name, dtype in dtypes.items():
        narrow = not name.startswith("0.") and "norm" not in name
        assert dtype == (torch.bfloat16 if narrow else torch.float32), name
    images, found = torch.randn(2, 3, 32, 32), []
    for backbone in (wide, held):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            (features,) = backbone.train()(images)
        features.float().square().sum().backward()
        found.append([features.detach(), backbone.patch_embed.projection.weight.grad])
    assert_close(found[1], found[0], rtol=0, atol=0)
    # Without autocast, as in validation: rounded weights, nothing else.
    with torch.no_grad():
        (exact,), (rounded,) = (backbone.eval()(images) for backbone in (wide, held))
    assert_close(rounded, exact, rtol=0, atol=0.05 * float(exact.std()))
    assert not torch.equal(rounded, exact)
    with pytest.raises(ValueError, match="frozen_dtype"):
        make("first:1", frozen_dtype="float8")
