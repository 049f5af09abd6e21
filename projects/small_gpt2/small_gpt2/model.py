"""The model of projects/small_gpt2/pretrain.py, its loss and its optimiser."""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def build_model(args: argparse.Namespace, vocabulary: int) -> nn.Module:
    """Build a GPT-2 with the initialisation of transformers.

    The table of positions has as many rows as the context: others would stay random.

    Args:
        args: Options of the tool.
        vocabulary: How many tokens there are; number 0 separates documents.
    """
    import transformers as hf

    torch.manual_seed(args.seed)
    config = hf.GPT2Config(
        n_layer=args.blocks,
        n_embd=args.width,
        n_head=args.heads,
        n_positions=args.context,
        vocab_size=vocabulary,
        resid_pdrop=args.dropout,
        embd_pdrop=args.dropout,
        attn_pdrop=args.dropout,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = hf.GPT2LMHeadModel(config).to(args.device).train()
    for block in model.transformer.h:
        # transformers' gelu_new, in one kernel instead of eight: a tenth of a step.
        block.mlp.act = nn.GELU(approximate="tanh")
    return model


def language_loss(model: nn.Module, windows: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of the next token, in nats.

    Args:
        model: A GPT-2 of transformers with its language head.
        windows: Tokens, ``(windows, context + 1)``.
        reduction: As of torch's ``cross_entropy``.
    """
    hidden = model.transformer(windows[:, :-1], use_cache=False)[0]
    logits = model.lm_head(hidden).float()  # of 8192: bfloat16 is too coarse to sum
    return F.cross_entropy(
        logits.flatten(0, 1), windows[:, 1:].flatten(), reduction=reduction
    )


def adamw(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Decay the blocks' matrices; neither norms and biases nor the two tables.

    Args:
        model: The GPT-2.
        lr: Learning rate.
        weight_decay: Of the matrices.
    """
    matrices = [p for p in model.transformer.h.parameters() if p.ndim > 1]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    groups = [dict(params=matrices, weight_decay=weight_decay)]
    groups += [dict(params=rest, weight_decay=0.0)]
    options = dict(lr=lr, betas=(0.9, 0.95))
    try:
        return torch.optim.AdamW(groups, fused=True, **options)
    except RuntimeError:  # torch 2.1 has it on CUDA only
        return torch.optim.AdamW(groups, **options)
