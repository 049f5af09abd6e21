"""mmdet's DETR with torch's fused attention; its parts are what PreNormDETR is made of.

mmdet's encoder and decoder name the classes of their layers in code, not in the config,
so each of them has a small subclass here that builds other layers.
"""

from __future__ import annotations

from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks.drop import Dropout as MmcvDropout
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.detectors import DETR
from mmdet.models.layers import (
    DetrTransformerDecoder,
    DetrTransformerDecoderLayer,
    DetrTransformerEncoder,
    DetrTransformerEncoderLayer,
    SinePositionalEncoding,
)
from mmengine.model import ModuleList
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from lbbt_mm.language.kernels import Dropout
from lbbt_mm.language.layers import stream_dtype
from lbbt_mm.models.detection.fused_attention import FusedAttention
from lbbt_mm.models.registers import checked_registers, new_registers, with_registers


class FusedEncoderLayer(DetrTransformerEncoderLayer):
    """mmdet's encoder layer with :class:`FusedAttention`: post-norm, as it is.

    Attributes:
        norm_first: Whether the norms stand before attention and FFN.
    """

    norm_first = False

    def _init_layers(self) -> None:
        # mmdet's own method would build mmcv's attention, whose default remembers.
        self.self_attn = FusedAttention(**self.self_attn_cfg)
        self.embed_dims = self.self_attn.embed_dims
        self.ffn = FFN(**self.ffn_cfg)
        self.norms = _norms(2, self.norm_cfg, self.embed_dims)
        use_fast_dropout(self)


class FusedDecoderLayer(DetrTransformerDecoderLayer):
    """mmdet's decoder layer with :class:`FusedAttention`: post-norm, as it is.

    Attributes:
        norm_first: Whether the norms stand before the attentions and the FFN.
    """

    norm_first = False

    def _init_layers(self) -> None:
        self.self_attn = FusedAttention(**self.self_attn_cfg)
        self.cross_attn = FusedAttention(**self.cross_attn_cfg)
        self.embed_dims = self.self_attn.embed_dims
        self.ffn = FFN(**self.ffn_cfg)
        self.norms = _norms(3, self.norm_cfg, self.embed_dims)
        use_fast_dropout(self)


class FusedEncoder(DetrTransformerEncoder):
    """mmdet's encoder over layers of ``layer_type``.

    ``num_cp`` layers are recomputed in the backward pass by torch itself; mmdet's class
    needs fairscale for it.
    """

    layer_type: type[FusedEncoderLayer] = FusedEncoderLayer

    def _init_layers(self) -> None:
        self.layers = ModuleList(
            self.layer_type(**self.layer_cfg) for _ in range(self.num_layers)
        )
        self.embed_dims = self.layers[0].embed_dims

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        key_padding_mask: Tensor | None,
        **kwargs: Any,
    ) -> Tensor:
        """Run the layers.

        Args:
            query: Image tokens ``(B, T, C)``.
            query_pos: Their positional encoding ``(B, T, C)``.
            key_padding_mask: ``(B, T)``, true where a token is padding; ``None``
                without padding.
            kwargs: For every layer, as in mmdet.

        Returns:
            ``(B, T, C)``.
        """
        for index, layer in enumerate(self.layers):
            inputs = (query, query_pos, key_padding_mask)
            if index < self.num_cp and torch.is_grad_enabled():
                query = recompute(layer, *inputs, use_reentrant=False, **kwargs)
            else:
                query = layer(*inputs, **kwargs)
        return query


class FusedDecoder(DetrTransformerDecoder):
    """mmdet's decoder over layers of ``layer_type``."""

    layer_type: type[FusedDecoderLayer] = FusedDecoderLayer

    def _init_layers(self) -> None:
        self.layers = ModuleList(
            self.layer_type(**self.layer_cfg) for _ in range(self.num_layers)
        )
        self.embed_dims = self.layers[0].embed_dims
        self.post_norm = build_norm_layer(self.post_norm_cfg, self.embed_dims)[1]


class FusedDETR(DETR):
    """``mmdet.DETR`` whose attention runs on torch's fused kernels.

    Takes the same config, has the same parameters under the same names, starts from the
    same initialisation under a seed and computes the same outputs, so checkpoints go
    both ways. Building it does not change the dropout of what is built later in the
    process, which building ``mmdet.DETR`` does (see
    :mod:`lbbt_mm.models.detection.dropout_leak`).

    Its layers are post-norm: the order of a BERT block. GPT-2 is pre-norm and fits
    :class:`lbbt_mm.models.detection.pre_norm_detr.PreNormDETR`.

    Args:
        args: As for ``mmdet.DETR``.
        registers: Learnable tokens beside those of the image, without positions:
            encoder tokens and object queries may attend to them where they look for
            nothing in the image, as a language model does to its first token.
        kwargs: As for ``mmdet.DETR``.

    Raises:
        ValueError: The positional encoding's width is not the encoder's, or
            ``registers`` is no number of tokens.

    Example:
        >>> _base_ = "mmdet::detr/detr_r50_8xb2-150e_coco.py"
        >>> model = dict(type="lbbt_mm.FusedDETR", registers=1)
    """

    encoder_type: type[FusedEncoder] = FusedEncoder
    decoder_type: type[FusedDecoder] = FusedDecoder
    # Their configs until the layers are built; mmdet has no types.
    positional_encoding: Any
    encoder: Any
    decoder: Any

    def __init__(self, *args: Any, registers: int = 0, **kwargs: Any) -> None:
        self._count = checked_registers(registers)
        super().__init__(*args, **kwargs)

    def _init_layers(self) -> None:
        self.positional_encoding = SinePositionalEncoding(**self.positional_encoding)
        self.encoder = self.encoder_type(**self.encoder)
        self.decoder = self.decoder_type(**self.decoder)
        self.embed_dims = self.encoder.embed_dims
        self.query_embedding = nn.Embedding(self.num_queries, self.embed_dims)
        self.registers = new_registers(self._count, self.embed_dims)
        num_feats = self.positional_encoding.num_feats
        if 2 * num_feats != self.embed_dims:
            raise ValueError(
                f"positional_encoding.num_feats must be half of the encoder's width: "
                f"expected {self.embed_dims / 2:g} for width {self.embed_dims}, got "
                f"{num_feats}."
            )

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Extract features, in the dtype of a detector that was cast.

        Args:
            batch_inputs: Images ``(B, 3, height, width)`` of any floating dtype.
        """
        return super().extract_feat(batch_inputs.to(stream_dtype(self.backbone)))

    def pre_transformer(
        self, mlvl_feats: tuple[Tensor, ...], batch_data_samples: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Prepare the transformer's inputs as mmdet does, in a cast detector too.

        Args:
            mlvl_feats: One level of features, ``(B, C, rows, columns)``.
            batch_data_samples: With the images' shapes, which tell padding.

        Returns:
            Inputs of the encoder and of the decoder.
        """
        encoder, decoder = super().pre_transformer(mlvl_feats, batch_data_samples)
        # mmdet computes positions in float32 whatever the layers compute in.
        positions = encoder["feat_pos"].to(stream_dtype(self.encoder))
        encoder["feat_pos"] = decoder["memory_pos"] = positions
        if self.registers is None:
            return encoder, decoder
        encoder["feat"] = with_registers(self.registers, encoder["feat"])
        nowhere = positions.new_zeros(len(positions), self._count, self.embed_dims)
        positions = torch.cat((nowhere, positions), 1)
        mask = encoder["feat_mask"]
        if mask is not None:
            mask = torch.cat((mask.new_zeros(len(mask), self._count), mask), 1)
        return (
            dict(encoder, feat_pos=positions, feat_mask=mask),
            dict(decoder, memory_pos=positions, memory_mask=mask),
        )

    def pre_decoder(self, memory: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        """Prepare the queries as mmdet does.

        Args:
            memory: The encoder's output, ``(B, T, C)``.

        Returns:
            Inputs of the decoder and of the head.
        """
        decoder, head = super().pre_decoder(memory)
        # Called, so that whatever stands in the embedding's place takes part.
        numbers = torch.arange(self.num_queries, device=memory.device)
        positions = self.query_embedding(numbers).expand(len(memory), -1, -1)
        return dict(decoder, query_pos=positions), head


def use_fast_dropout(module: nn.Module) -> None:
    """Put the faster dropout in the place of mmcv's and torch's, inside ``module``."""
    for name, child in module.named_children():
        # Neither's subclasses, which may drop something else.
        if isinstance(child, nn.Dropout) and type(child) in (nn.Dropout, MmcvDropout):
            setattr(module, name, Dropout(child.p))
        else:
            use_fast_dropout(child)


def _norms(count: int, cfg: dict[str, Any], channels: int) -> ModuleList:
    return ModuleList(build_norm_layer(cfg, channels)[1] for _ in range(count))
