"""The last step before LLaVA keeps what the model and the metrics read."""

from __future__ import annotations

import pickle

import pytest
import torch
from llava_tiny import turns

from lbbt_mm.datasets.pack_conversation import PackConversation
from lbbt_mm.registry import TRANSFORMS

SAMPLE = dict(
    sample_id="a",
    sample_idx=3,
    img_paths=["x.png"],
    turns=turns("<image> What?", "No"),
    pixels=torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
    tiles=[1],
    image_sizes=[(4, 8)],
    answers=["No"],
    question_type="what",
    weight=2,
)


def test_what_is_kept() -> None:
    packed = TRANSFORMS.build(dict(type="lbbt_mm.PackConversation"))(SAMPLE)
    assert packed["inputs"] is SAMPLE["pixels"]
    kept = packed["data_samples"]
    for key in set(SAMPLE) - {"pixels", "weight"}:
        assert kept.get(key) == SAMPLE[key], key
    assert "weight" not in kept and "choices" not in kept
    assert not kept.keys()  # nothing that a device would be asked to hold
    again = pickle.loads(pickle.dumps(kept))  # loaders send it between processes
    assert again.get("turns") == SAMPLE["turns"]


def test_further_keys() -> None:
    pack = PackConversation(keys=["weight"])
    assert pack(SAMPLE)["data_samples"].get("weight") == 2
    assert "'weight'" in repr(pack)


def test_without_tiles() -> None:
    unfinished = {key: SAMPLE[key] for key in ("turns", "img_paths")}
    with pytest.raises(KeyError, match="put lbbt_mm.ImageTiles before it"):
        PackConversation()(unfinished)
