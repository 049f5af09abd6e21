"""A backbone as a program of torch, or as weights of timm's VisionTransformer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.export.hugging_face import save_tensors
from lbbt_mm.files import write_whole
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.models.backbone.lora import MERGE

ACTIVATIONS = ("gelu", "gelu_tanh")
_LOADER = '''"""Build timm's VisionTransformer with the weights beside this file."""

import json
from functools import partial
from pathlib import Path

from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

HERE = Path(__file__).resolve().parent


def load_model(**options):
    """Return the model; options are VisionTransformer's, such as num_classes=10."""
    settings = json.loads((HERE / "config.json").read_text())["timm"]
    norm = partial(nn.LayerNorm, eps=settings.pop("norm_eps"))
    model = VisionTransformer(**{**settings, "norm_layer": norm, **options})
    weights = load_file(HERE / "model.safetensors")
    model.load_state_dict({**model.state_dict(), **weights})  # a head is drawn
    return model.eval()
'''


def write_program(backbone: LanguageBackbone, file: Path) -> str:
    """Write a backbone as a program that torch alone opens.

    It computes features of any number of images of one size, that of training, in
    evaluation mode. Beside it, in the file, lies how images are prepared.

    Args:
        backbone: With its weights, as ``load_backbone`` returns it.
        file: To write, ``.pt2``.

    Returns:
        How to open it.

    Raises:
        ValueError: The file has another ending, or torch cannot trace the backbone.
        OSError: It cannot be written.
    """
    if file.suffix != ".pt2":
        raise ValueError(f"{file}: expected a file that ends in .pt2, torch's own.")
    if not hasattr(torch.export, "Dim"):
        raise ValueError(
            f"--to torch expects torch 2.2 or newer (programs of any batch), got "
            f"{torch.__version__}."
        )
    transform: Any = backbone.transform
    images = torch.zeros(2, transform.channels, *transform.size)
    batch = torch.export.Dim("batch", min=1)
    extra = {"transform.json": json.dumps(dataclasses.asdict(transform))}
    try:
        with torch.no_grad():
            program = torch.export.export(
                backbone.eval(), (images,), dynamic_shapes=({0: batch},)
            )
            if isinstance(backbone.language, FallbackModel):
                # transformers' masks leave calls of Python behind that do nothing.
                program = program.run_decompositions({})
        write_whole(
            file, lambda path: torch.export.save(program, path, extra_files=extra)
        )
    except OSError:
        raise
    except Exception as error:  # of any kind: it reads the code of every layer
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ValueError(
            f"torch.export cannot write this backbone ({reason})."
        ) from error
    shape = ", ".join(map(str, ("N", *images.shape[1:])))
    return (
        f"{file}: images ({shape}) -> features; open it with "
        f"torch.export.load({str(file)!r}).module()"
    )


def write_timm(backbone: LanguageBackbone, folder: Path) -> str:
    """Write a backbone as weights of timm's ``VisionTransformer``, and what loads them.

    Args:
        backbone: With its weights, as ``load_backbone`` returns it.
        folder: To write into.

    Returns:
        How to open it.

    Raises:
        ValueError: timm's computes something else; says what.
        OSError: It cannot be written.
    """
    reasons = differences_from_vit(backbone)
    if reasons:
        raise ValueError(
            f"timm's VisionTransformer computes something else than this backbone: "
            f"{'; '.join(reasons)}. --to torch takes any backbone."
        )
    settings, state = vit_of(backbone)
    transform: Any = backbone.transform
    config = dict(timm=settings, transform=dataclasses.asdict(transform))
    save_tensors(folder / "model.safetensors", state)
    write_whole(folder / "load.py", _LOADER)
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")
    last = "" if settings["global_pool"] else "; the last token is [:, -1]"
    return f"{folder}: model = load_model() of {folder / 'load.py'}{last}"


def differences_from_vit(backbone: LanguageBackbone) -> list[str]:
    """Name what timm's ``VisionTransformer`` would compute in another way."""
    config, language = backbone.language.config, backbone.language
    if not hasattr(config, "norm"):
        return ["its layers are transformers' own"]
    size, patch = backbone.transform.size, backbone.patch_embed.patch_size
    inside = language.use["position"] == "language" and config.position != "table"
    last = tuple(backbone.out_indices) == (config.num_layers - 1,)
    checks = [
        (language.causal, "its attention is causal (attention='bidirectional' goes)"),
        (config.norm != "layernorm", "its norms are RMSNorm, without biases"),
        (not config.pre_norm, "its norms stand behind attention and FFN"),
        (config.gated, "its FFN is gated"),
        (config.activation not in ACTIVATIONS, f"its FFN has {config.activation}"),
        (inside, f"its positions are {config.position}, inside the attention"),
        (not config.qkv_bias or not config.ffn_bias, "its projections lack biases"),
        (config.num_kv_heads != config.num_heads, "its key-value heads are grouped"),
        (backbone.prefix is not None, "a token stands in front of the patches"),
        ("window_size" in language.use, "its blocks attend in windows"),
        ("lora" in language.use, f"it has LoRA (merge it: {MERGE})"),
        (not last, f"it puts out blocks {backbone.out_indices}, not the last alone"),
        (any(side % patch for side in size), f"{patch} does not divide its {size}"),
    ]
    return [reason for differs, reason in checks if differs]


def vit_of(backbone: LanguageBackbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Name a backbone's settings and weights as timm does.

    Args:
        backbone: Without :func:`differences_from_vit`.

    Returns:
        Arguments of ``VisionTransformer``, with ``norm_eps``, and its state dict.
    """
    language: Any = backbone.language
    config, patches = language.config, backbone.patch_embed
    count = patches.grid[0] * patches.grid[1]
    settings = dict(
        img_size=list(backbone.transform.size),
        patch_size=patches.patch_size,
        in_chans=backbone.transform.channels,
        num_classes=0,
        global_pool="avg" if backbone.out_type == "avg" else "",
        embed_dim=config.width,
        depth=config.num_layers,
        num_heads=config.num_heads,
        mlp_ratio=config.ffn_width / config.width,
        class_token=False,
        fc_norm=False,
        act_layer=config.activation,
        norm_eps=config.norm_eps,
    )
    if language.positions is not None:
        table = language.position_rows(count)
    elif patches.positions is not None:
        table = patches.positions.flatten(0, 1)
    else:
        table = torch.zeros(count, config.width)
    state = {
        "pos_embed": table[None],
        "patch_embed.proj.weight": patches.projection.weight,
        "patch_embed.proj.bias": patches.projection.bias,
        "norm.weight": language.final_norm.weight,
        "norm.bias": language.final_norm.bias,
    }
    names = dict(
        attn_norm="norm1",
        qkv="attn.qkv",
        out="attn.proj",
        ffn_norm="norm2",
        up="mlp.fc1",
        down="mlp.fc2",
    )
    for number, block in enumerate(language.blocks):
        for part, tensor in block.state_dict().items():
            name, _, kind = part.rpartition(".")
            state[f"blocks.{number}.{names[name]}.{kind}"] = tensor
    return settings, {n: t.detach().float().contiguous() for n, t in state.items()}
