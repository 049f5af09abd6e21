"""A trained LLaVA and a question: what people do with a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from PIL import Image

from lbbt_mm.config import load_config
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.storage import load_pickle
from lbbt_mm.models.checkpoint_config import (
    building_foreign,
    foreign_config,
    foreign_scope,
    type_name,
    use_checkpoint_only,
)
from lbbt_mm.registry import MODELS, names_of
from lbbt_mm.safety.dumped_config import at
from lbbt_mm.safety.registered_names import check_config


class Answering(NamedTuple):
    """A LLaVA that is ready to answer.

    Attributes:
        model: In evaluation mode.
        pipeline: From ``dict(images=[...], turns=[...])`` to the model's input.
    """

    model: Any
    pipeline: Compose

    def answer(self, image: Image.Image | None, question: str) -> str:
        """Answer one question.

        Args:
            image: RGB; None for a question without one.
            question: Any text.

        Raises:
            ValueError: It is too long, or the model's scores are NaN.
        """
        with torch.no_grad():
            (sample,) = self.model.test_step(self._batch(image, question))
        if sample.get("unanswered"):
            raise ValueError(sample.unanswered)
        return sample.pred_answer

    @torch.no_grad()
    def words(
        self, image: Image.Image, k: int = 3
    ) -> tuple[Image.Image, tuple[int, int], list[list[str]], list[list[float]]]:
        """Read an image's first tile in the words of a LangBridge projector.

        Args:
            image: RGB.
            k: Words a patch.

        Returns:
            The tile that the encoder is given; its rows and columns of patches; the
            words and the weights of each patch, row by row.

        Raises:
            ValueError: The projector has no words.
        """
        model = self.model
        if not hasattr(model.projector, "top_words"):
            raise ValueError(
                f"Expected a LangBridgeProjector, got {type(model.projector).__name__},"
                " which knows no words; ask without them."
            )
        batch = self._batch(image, "")
        tile = batch["inputs"][0][0].permute(1, 2, 0).to(torch.uint8).numpy()
        inputs = model.data_preprocessor(batch, False)["inputs"]
        tokens = model.seen(torch.cat(inputs)[:1])[0]
        weights, words = model.projector.top_words(tokens.flatten(0, 1), k)
        grid = (tokens.shape[0], tokens.shape[1])
        return Image.fromarray(tile), grid, words, weights.tolist()

    def _batch(self, image: Image.Image | None, question: str) -> dict[str, Any]:
        shown = image is not None
        asked = "<image>\n" * shown + question
        sample = dict(
            sample_id="asked",
            images=[] if image is None else [image],
            turns=[dict(role="user", text=asked, images=int(shown))],
        )
        return pseudo_collate([self.pipeline(sample)])


def open_answering(
    checkpoint: Path, config: Path | None = None, options: dict | None = None
) -> Answering:
    """Build a LLaVA from its checkpoint.

    Args:
        checkpoint: What a run saved.
        config: Its config; None: the one in the checkpoint, which is read as data, and
            of which only what the libraries registered is built.
        options: Settings over the config, by dotted key.

    Raises:
        CheckpointError: A file is missing, damaged or not of a LLaVA, or the language
            model cannot be found.
        ValueError: There is no config, it has no pipeline, or an option has no effect,
            or the checkpoint's asks for something that no library registered.
    """
    found = load_pickle(checkpoint)
    state = found.get("state_dict") if isinstance(found, dict) else None
    if not state:
        raise CheckpointError(
            f"{checkpoint}: expected a checkpoint of a run, got a file without "
            "state_dict."
        )
    if config is None:
        cfg = _carried_config(found, checkpoint)
        cfg.merge_from_dict(options or {})
    else:
        cfg = load_config(config, options)
    kind = type_name(cfg.get("model") or {})
    # A config of the user's may have a class of the user's; one in a file may not.
    names = names_of(kind, MODELS, cfg.get("default_scope")) if config else {kind}
    if not names & {"LLaVA", "lbbt_mm.LLaVA"}:
        raise ValueError(
            f"{config or checkpoint}: expected a config of lbbt_mm.LLaVA, got one of "
            f"{type_name(cfg.get('model') or {}) or 'no model'}."
        )
    steps, where = _pipeline(cfg), f"the config in {checkpoint}"
    if config is None:
        check_config(dict(pipeline=steps), str(checkpoint), foreign_scope(cfg))
    with building_foreign(where) if config is None else contextlib.nullcontext():
        use_checkpoint_only(cfg, str(checkpoint))
        init_default_scope(cfg.get("default_scope", "lbbt_mm"))
        model: Any = MODELS.build(cfg.model)
        model.init_weights()
        pipeline = Compose(steps)
    load_state_dict(model, state, strict=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Answering(model.to(device).eval(), pipeline)


def _carried_config(found: Any, checkpoint: Path) -> Config:
    text = at(found, "meta", "cfg")
    if not isinstance(text, str):
        raise ValueError(
            f"{checkpoint}: expected a checkpoint with its config, got one without; "
            "give the config."
        )
    return foreign_config(text, str(checkpoint), ["model"])


def _pipeline(cfg: Config) -> Sequence[Any]:
    for name in ("test_dataloader", "val_dataloader", "train_dataloader"):
        pipeline = at(cfg, name, "dataset", "pipeline")
        if pipeline:
            return pipeline
    raise ValueError(
        "Expected a config with a pipeline in one of its data sets, got none; add "
        "lbbt_mm.ImageTiles and lbbt_mm.PackConversation."
    )
