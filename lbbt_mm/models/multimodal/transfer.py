"""Transfer a trained LangBridge projector to another language model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.record import decode_record, encode_record
from lbbt_mm.models.multimodal.causal_lm import causal_lm_config, open_tokenizer
from lbbt_mm.models.multimodal.llava_parts import RECORD, part_of
from lbbt_mm.models.multimodal.projectors import encode_entries, vocabulary_of
from lbbt_mm.models.multimodal.shared_vocabulary import SharedVocabulary

_LAST = ("projector.layers.2.weight", "projector.layers.2.bias")
_ENTRIES = "projector._extra_state"


class Transferred(NamedTuple):
    """A projector in its new place.

    Attributes:
        state_dict: Encoder and projector, for a LLaVA of the other language model.
        vocabulary: The entries that are left.
        left_out: How many tensors of the old language model are not in it.
    """

    state_dict: dict[str, Tensor]
    vocabulary: SharedVocabulary
    left_out: int


def transfer_projector(
    state_dict: Mapping[str, Any], language_model: str, minimum_overlap: float = 0.5
) -> Transferred:
    """Make a LLaVA's encoder and LangBridge projector fit another language model.

    The projector's weights stay; of its vocabulary the entries stay that the other
    tokeniser has too, and softmax spreads the share of the others over them. What was
    trained in the old language model stays behind. Only config and tokeniser of the
    other language model are read.

    Args:
        state_dict: Of a LLaVA's checkpoint.
        language_model: The other one, as in ``lbbt_mm.LLaVA``.
        minimum_overlap: Fewer entries than this share is an error.

    Raises:
        CheckpointError: It is no LLaVA with a LangBridge projector, the other language
            model cannot be read, or the tokenisers have too little in common.

    Example::

        found = transfer_projector(state_dict, "Qwen/Qwen2-7B-Instruct")
        torch.save(dict(state_dict=found.state_dict), "qwen2-7b.pth")
    """
    record = decode_record(state_dict[RECORD]) if RECORD in state_dict else None
    vocabulary = vocabulary_of(dict(state_dict))
    if record is None or vocabulary is None or _LAST[0] not in state_dict:
        raise CheckpointError(
            "Expected the checkpoint of a lbbt_mm.LLaVA with a LangBridgeProjector, "
            f"got one with {(record or {}).get('projector', 'neither')}. An MLP "
            "projector belongs to one language model: train it again."
        )
    kept, places = vocabulary.shared_with(
        open_tokenizer(language_model), minimum_overlap
    )
    transferred = {
        name: value
        for name, value in state_dict.items()
        if part_of(name) in ("vision_encoder", "projector") and name != "image_newline"
    }
    left_out = sum(part_of(name) == "language_model" for name in state_dict)
    for name in _LAST:
        transferred[name] = transferred[name][torch.tensor(places)].clone()
    transferred[_ENTRIES] = encode_entries(kept)
    config = causal_lm_config(language_model)
    stays = {
        name: value
        for name, value in (record.get("settings") or {}).items()
        # The words belong to the old language model.
        if name not in ("chat_template", "tokenizer", "language_model_weights")
    }
    transferred[RECORD] = encode_record(
        record
        | dict(
            language_model=language_model,
            model_type=config.model_type,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            vocabulary=config.vocab_size,
            transferred_from=record.get("language_model"),
            settings=stays,
        )
    )
    return Transferred(transferred, kept, left_out)


def move_projector(*args: Any, **kwargs: Any) -> Transferred:
    """Do what :func:`transfer_projector` does; the old name, until the next release."""
    warnings.warn(
        "move_projector is transfer_projector now; the old name works until the next "
        "release.",
        DeprecationWarning,
        stacklevel=2,
    )
    return transfer_projector(*args, **kwargs)
