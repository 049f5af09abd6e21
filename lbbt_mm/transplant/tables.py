"""Where the transformer layers of the vision libraries keep the parts of a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PARTS = {
    "self_attn": ("qkv", "out"),
    "cross_attn": ("cross_qkv", "cross_out"),
    "ffn": ("up", "down"),
    "norms": ("attn_norm", "cross_norm", "ffn_norm"),
}
"""Word in ``parts`` of a copy -> the parts of a layer that it means."""

BLOCK = ("attn_norm", "qkv", "out", "ffn_norm", "up", "down")
CROSS = ("cross_norm", "cross_qkv", "cross_out")

# Parts of a block -> the module that holds them, by its path in the layer. `qkv` may be
# a torch.nn.MultiheadAttention (its in_proj), one Linear, or three. `norm_order` is
# 'pre' or 'post'; 'norm_first' reads it from the layer's attribute of that name.
# `qkv_bias` names parameters where the biases lie apart, None where there is none.
# `ffn_adds` is False where the layer, not its FFN, adds to the residual stream.
# `without` says why a word of PARTS has no place in the layer.
_FFN = dict(up="ffn.layers.0.0", activation="ffn.layers.0.1", down="ffn.layers.1")
_DETR = dict(
    _FFN,
    norm_order="post",
    attn_norm="norms.0",
    qkv="self_attn.attn",
    out="self_attn.attn.out_proj",
)
_DETR_DECODER = dict(
    _DETR,
    cross_norm="norms.1",
    cross_qkv="cross_attn.attn",
    cross_out="cross_attn.attn.out_proj",
    ffn_norm="norms.2",
)
_DEFORMABLE = (
    "deformable and other attention that compares no queries with keys has no place "
    "for a block"
)
# The parts of queries and keys that come from positions are extra parameters.
_CONDITIONAL = dict(
    _DETR,
    qkv=["self_attn.qcontent_proj", "self_attn.kcontent_proj", "self_attn.v_proj"],
    out="self_attn.out_proj",
    cross_norm="norms.1",
    ffn_norm="norms.2",
    without=dict(
        cross_attn="its queries and keys are content and position side by side, twice "
        "as wide as a block's"
    ),
)
_VIT = dict(
    _FFN,
    norm_order="pre",
    attn_norm="ln1",
    qkv="attn.qkv",
    out="attn.proj",
    ffn_norm="ln2",
)
_BEIT = dict(_VIT, qkv_bias=["attn.q_bias", None, "attn.v_bias"], ffn_adds=False)
_SWIN = dict(
    _VIT, attn_norm="norm1", qkv="attn.w_msa.qkv", out="attn.w_msa.proj",
    ffn_norm="norm2",
)  # fmt: skip
_TORCH = dict(
    norm_order="norm_first",
    attn_norm="norm1",
    qkv="self_attn",
    out="self_attn.out_proj",
    up="linear1",
    activation="activation",
    down="linear2",
)
_MMDET = "mmdet.models.layers.transformer"
TABLES: dict[str, Mapping[str, Any]] = {
    "mmseg.models.backbones.vit.TransformerEncoderLayer": dict(
        _VIT, qkv="attn.attn", out="attn.attn.out_proj"
    ),
    "mmpretrain.models.backbones.vision_transformer.TransformerEncoderLayer": _VIT,
    f"{_MMDET}.detr_layers.DetrTransformerEncoderLayer": dict(
        _DETR, ffn_norm="norms.1"
    ),
    f"{_MMDET}.detr_layers.DetrTransformerDecoderLayer": _DETR_DECODER,
    # Cross-attention comes first in it, and the first norm is that of cross-attention.
    f"{_MMDET}.mask2former_layers.Mask2FormerTransformerDecoderLayer": dict(
        _DETR_DECODER, cross_norm="norms.0", attn_norm="norms.1"
    ),
    f"{_MMDET}.conditional_detr_layers.ConditionalDetrTransformerDecoderLayer": (
        _CONDITIONAL
    ),
    f"{_MMDET}.dab_detr_layers.DABDetrTransformerDecoderLayer": _CONDITIONAL,
    f"{_MMDET}.deformable_detr_layers.DeformableDetrTransformerEncoderLayer": dict(
        _DETR, ffn_norm="norms.1", without=dict(self_attn=_DEFORMABLE)
    ),
    f"{_MMDET}.deformable_detr_layers.DeformableDetrTransformerDecoderLayer": dict(
        _DETR,
        cross_norm="norms.1",
        ffn_norm="norms.2",
        without=dict(cross_attn=_DEFORMABLE),
    ),
    # mmpretrain's forward() calls ln1 twice and ln2 never.
    "mmpretrain.models.backbones.deit3.DeiT3TransformerEncoderLayer": dict(
        _VIT,
        without=dict(
            norms="its attention and its FFN stand behind one norm, ln1, where a block "
            "has two; ln2 is not used"
        ),
    ),
    "mmpretrain.models.backbones.beit.BEiTTransformerEncoderLayer": _BEIT,
    "mmseg.models.backbones.beit.BEiTTransformerEncoderLayer": _BEIT,
    "mmpretrain.models.backbones.swin_transformer.SwinBlock": _SWIN,
    "mmdet.models.backbones.swin.SwinBlock": _SWIN,
    "mmseg.models.backbones.swin.SwinBlock": _SWIN,
    "mmseg.models.backbones.mit.TransformerEncoderLayer": dict(
        norm_order="pre",
        attn_norm="norm1",
        qkv="attn.attn",
        out="attn.attn.out_proj",
        ffn_norm="norm2",
        up="ffn.layers.0",
        activation="ffn.activate",
        down="ffn.layers.4",
    ),
    "lbbt_mm.models.detection.pre_norm_detr.PreNormEncoderLayer": dict(
        _DETR, norm_order="norm_first", ffn_norm="norms.1"
    ),
    "lbbt_mm.models.detection.pre_norm_detr.PreNormDecoderLayer": dict(
        _DETR_DECODER, norm_order="norm_first"
    ),
    "torch.nn.modules.transformer.TransformerEncoderLayer": dict(
        _TORCH, ffn_norm="norm2"
    ),
    "torch.nn.modules.transformer.TransformerDecoderLayer": dict(
        _TORCH,
        cross_norm="norm2",
        cross_qkv="multihead_attn",
        cross_out="multihead_attn.out_proj",
        ffn_norm="norm3",
    ),
}
"""Class -> where it keeps the parts of a block."""

CONTAINERS = frozenset(
    (
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.container.ModuleList",
        "torch.nn.modules.activation.MultiheadAttention",
        "mmcv.cnn.bricks.transformer.MultiheadAttention",
        "mmcv.cnn.bricks.transformer.FFN",
        "mmpretrain.models.backbones.deit3.DeiT3FFN",
        "mmpretrain.models.utils.attention.MultiheadAttention",
        "mmpretrain.models.utils.attention.BEiTAttention",
        "mmpretrain.models.utils.attention.ShiftWindowMSA",
        "mmpretrain.models.utils.attention.WindowMSA",
        "mmdet.models.backbones.swin.ShiftWindowMSA",
        "mmdet.models.backbones.swin.WindowMSA",
        "mmseg.models.backbones.swin.ShiftWindowMSA",
        "mmseg.models.backbones.swin.WindowMSA",
        "mmseg.models.backbones.beit.BEiTAttention",
        "mmseg.models.backbones.mit.EfficientMultiheadAttention",
        "mmseg.models.backbones.mit.MixFFN",
        f"{_MMDET}.utils.ConditionalAttention",
        "lbbt_mm.models.detection.fused_attention.FusedAttention",
        "lbbt_mm.models.detection.fused_attention._Attention",
    )
)
"""Classes between a layer and its parts that compute as a block does."""
