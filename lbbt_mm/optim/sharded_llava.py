"""What FSDP wraps and recomputes in a LLaVA: blocks of its eye and of its answerer."""

from __future__ import annotations

from torch import nn

from lbbt_mm.language.layers import TransformerBlock
from lbbt_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def is_transformer_block(module: nn.Module) -> bool:
    """Tell mmengine's ``activation_checkpointing`` what to recompute.

    Args:
        module: Any part of the model. Blocks are this package's, and the layers of
            transformers' language models, which it names ``LlamaDecoderLayer``,
            ``MistralDecoderLayer``, ``Qwen2DecoderLayer`` and so on.
    """
    kind = type(module)
    # By name: transformers need not be imported, nor every family listed.
    return isinstance(module, TransformerBlock) or (
        kind.__module__.startswith("transformers.")
        and kind.__name__.endswith("DecoderLayer")
    )


@FUNCTIONS.register_module()
def wrap_transformer_blocks(
    module: nn.Module, recurse: bool, nonwrapped_numel: int
) -> bool:
    """FSDP's ``auto_wrap_policy``: every block is a unit, the rest is the root's.

    The root holds the embeddings, which a LLaVA reads outside of the language model's
    own forward pass.

    Args:
        module: Any part of the model.
        recurse: Whether FSDP asks if it should look inside.
        nonwrapped_numel: Parameters that no unit holds yet; unused.
    """
    return recurse or is_transformer_block(module)
