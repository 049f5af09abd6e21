"""What a tensor does in a transformer, told by its name."""

from __future__ import annotations

import re

# The first level of numbered modules is the block: 'h.3', 'encoder.layers.0'; not the
# layers of an MLP alone, as DETR's head has one (reg_ffn.layers.0).
_BLOCK = re.compile(r"^(.*?(?:^|(?<!ffn)\.)(?:blocks?|layers?|h)\.\d+)\.")
# The first form that fits decides; each is matched at the end of the name, from a dot
# or the beginning on. Names of ours, of transformers (GPT-2, BERT, LLaMA, T5), of timm
# and torch.nn, and of the OpenMMLab libraries (ffn.layers.0.0 and ffn.layers.1).
_KINDS = (
    # A detector's head may have MLPs of its own; a mask decoder's head has blocks.
    ("head", r"(bbox_head|auxiliary_head|conv_seg)\..*"),
    ("head", r"decode_head\.(patch_proj|classes_proj)\..*"),
    ("mlp gate", r"(gate|gate_proj|wi_0)\.weight"),
    ("mlp up", r"(up|up_proj|c_fc|fc1|linear1|wi|wi_1)\.weight"),
    ("mlp up", r"(intermediate\.dense|layers\.0\.0)\.weight"),
    ("mlp down", r"(down|down_proj|mlp\.c_proj|fc2|linear2|wo)\.weight"),
    ("mlp down", r"(\d+\.output\.dense|ffns?(\.\d+)?\.layers\.\d+)\.weight"),
    ("attention in", r"(qkv|c_attn|[qkv]|[qkv]_proj|query|key|value)\.weight"),
    ("attention in", r"(in|[qkv])_proj_weight"),
    ("attention out", r"(out|o|o_proj|out_proj|attn\.c_proj|attn\.proj)\.weight"),
    ("attention out", r"attention\.output\.dense\.weight"),
    ("embedding", r"\w*embed\w*(\..*)?"),
    ("embedding", r"(wte|wpe|shared|positions|cls_token|cls_emb)(\.weight)?"),
    ("head", r"(lm_head|head|heads|classifier|fc)\..*"),
)
_COMPILED = [(kind, re.compile(rf"(^|\.){form}$")) for kind, form in _KINDS]


def weight_kind(name: str) -> str:
    """Tell what a tensor does in a transformer.

    Args:
        name: In a model of ours, transformers, timm, torch.nn or an OpenMMLab library.

    Returns:
        ``'attention in'`` (queries, keys, values), ``'attention out'``, ``'mlp
        gate'``, ``'mlp up'``, ``'mlp down'``, ``'embedding'`` (words, positions,
        patches), ``'head'`` or ``'other'``.
    """
    return next((kind for kind, form in _COMPILED if form.search(name)), "other")


def block_path(name: str) -> str | None:
    """Find the block that a tensor belongs to.

    Args:
        name: Of the tensor, such as ``'language.blocks.3.qkv.weight'``.

    Returns:
        The block's path, ``'language.blocks.3'``; None outside every block.
    """
    found = _BLOCK.match(name)
    return found[1] if found else None
