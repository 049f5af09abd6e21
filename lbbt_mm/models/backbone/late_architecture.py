"""A backbone whose language model is gone: its checkpoints hold the architecture."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule

from lbbt_mm.language import LanguageModel
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError, MissingCheckpoint
from lbbt_mm.language.fallback import FallbackModel
from lbbt_mm.language.fallback_checkpoint import any_config
from lbbt_mm.language.fallback_config import (
    AnyConfig,
    FallbackConfig,
    read_architecture,
)
from lbbt_mm.language.flops import counting
from lbbt_mm.language.record import RECORD_KEY, decode_record, own_record
from lbbt_mm.models.backbone.bridge_source import describe_origin, say_other_use
from lbbt_mm.models.backbone.lora import fit_names
from lbbt_mm.models.backbone.patch_tokens import PatchTokens
from lbbt_mm.models.backbone.prefix import PrefixTokens
from lbbt_mm.models.pretrained import InitCfg, read_weights, split_pretrained
from lbbt_mm.neighbours.mmengine import building_runner, start_of

_KNOWN_LATER = frozenset(
    "embed_dims num_layers out_indices trainable language patch_embed prefix".split()
)


class LateArchitecture(BaseModule):
    """A module whose weights, if need be its architecture too, come from a checkpoint.

    Functions such as mmdet's ``init_detector`` build a model from its config and load
    its checkpoint then. Where the language model that the config names is not on this
    machine, the module stays empty until that: the record in the checkpoint says what
    to build. Whatever needs the sizes before is an error that says so.
    """

    init_cfg: Any  # mmengine's, untyped
    language_source: str
    language: LanguageModel | FallbackModel
    patch_embed: PatchTokens
    prefix: PrefixTokens | None
    _waits: str | None = None
    _coming: str | None = None
    _weights_ready = False

    @property
    def language_model(self) -> str:
        """The old name of ``language_source``, until the next release."""
        warnings.warn(
            f"{type(self).__name__}.language_model is language_source now; the old "
            "name works until the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.language_source

    def _build(self, config: AnyConfig, options: Mapping[str, Any]) -> None:
        """Make all submodules."""
        raise NotImplementedError

    def _build_when_known(self, **options: Any) -> None:
        """Build, or wait for a checkpoint where no architecture is known yet."""
        self._options = options
        try:
            config, self._coming = find_architecture(
                self.language_source, self.init_cfg
            )
        except MissingCheckpoint as missing:
            self._waits = str(missing)
            # Follows the model to its device and precision.
            self.register_buffer("_place", torch.empty(0), persistent=False)
            print_log(
                f"{type(self).__name__}: {missing} Until a checkpoint is loaded, which "
                f"holds its architecture too, the model is not complete.",
                logger="current",
                level=logging.WARNING,
            )
        else:
            self._build(config, options)

    def require_architecture(self) -> None:
        """Refuse to go on before it is known what to build.

        Raises:
            CheckpointError: The language model is missing, and no checkpoint of a model
                of ours has taken its place.
        """
        if self._waits is not None:
            raise MissingCheckpoint(
                f"{self._waits} A checkpoint of a model with a {type(self).__name__} "
                f"holds its architecture too: load it (load_from, resume), or name it "
                f"as language_model."
            )

    def require_weights(self) -> None:
        """Refuse to compute before there are weights.

        Counting operations needs none: on the meta device, and while torch or mmengine
        counts or traces. A trace that is exported so computes NaN.

        Raises:
            CheckpointError: None have been loaded yet.
        """
        self.require_architecture()
        if self._weights_ready or next(self.language.blocks.parameters()).is_meta:
            return
        if not counting():
            raise CheckpointError(
                f"The weights of {self.language_source} are not loaded yet: call "
                f"init_weights(), as a runner does, or load a checkpoint first."
            )

    def expect_weights(self) -> None:
        """Take note that another process sends the weights, in place of initialising.

        Sharded training calls it: one process reads them, all get their shards.
        """
        self._weights_ready = True

    def _draw_until_weights_come(self) -> None:
        """Fill the memory with numbers; computing is refused until weights come."""
        self.language.reset_parameters()
        self.patch_embed.reset_parameters()
        self._weights_ready = False
        print_log(
            f"{type(self).__name__}: all weights will come from {self._coming}; none "
            f"are read from {self.language_source}.",
            logger="current",
        )

    def __getattr__(self, name: str) -> Any:
        """Look up submodules; explain those that are not there yet."""
        if name in _KNOWN_LATER:
            self.require_architecture()
        return super().__getattr__(name)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Note that weights arrive; mmengine calls this, not ``load_state_dict``."""
        name = f"{prefix}language.{RECORD_KEY}"
        stored: Any = state_dict.get(name)  # None is something else, too
        record = decode_record(stored) or {}
        if any(n.startswith(f"{prefix}language.blocks.") for n in state_dict):
            if self._waits is not None:
                self._build_from(record)
            self._weights_ready = True
            if record:
                print_log(
                    f"{type(self).__name__}: blocks out of a checkpoint, which started "
                    f"from {describe_origin(record.get('origin'))}.",
                    logger="current",
                )
        elif self._waits is not None:  # nothing of this module is in it
            return
        fit_names(self.language, state_dict, f"{prefix}language.")
        say_other_use(self.language.use, record.get("use"), "The checkpoint")
        # Checkpoints from before the record existed, or published without it, are fine.
        if self._weights_ready and name not in state_dict:
            state_dict[name] = self.language.get_extra_state()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _build_from(self, record: Mapping[str, Any]) -> None:
        if not record:
            raise CheckpointError(
                f"{self._waits} The checkpoint that is loaded holds blocks, but no "
                f"record of their architecture: copy the language model here, its "
                f"config.json is enough."
            )
        self._waits = None
        place: Any = self._buffers.pop("_place")
        self._build(read_architecture(record.get("config")), self._options)
        self.to(place.device, place.dtype)
        self.train(self.training)


def find_architecture(
    language_model: str, init_cfg: InitCfg
) -> tuple[AnyConfig, str | None]:
    """Find a language model's architecture, or that of what takes its place.

    Args:
        language_model: As in :func:`lbbt_mm.language.open_checkpoint`.
        init_cfg: May name a checkpoint to start from.

    Returns:
        The architecture; and the checkpoint, if there is one, that a runner will load
        anyway, so that no other weights have to be read.

    Raises:
        MissingCheckpoint: The language model is not there, and neither ``init_cfg`` nor
            a runner names a checkpoint of ours.
    """
    coming, resume = coming_checkpoint() or (None, False)
    try:
        config = any_config(language_model)
    except MissingCheckpoint:
        for cfg in split_pretrained(init_cfg)[0]:
            stored = stored_architecture(cfg["checkpoint"])
            if stored is not None:
                return stored, coming if resume else None
        stored = stored_architecture(coming) if coming else None
        if stored is None:
            raise
        return stored, coming
    stored = stored_architecture(coming) if coming and resume else None
    return config, coming if stored and same_blocks(config, stored) else None


def same_blocks(config: AnyConfig, other: AnyConfig) -> bool:
    """Tell whether two architectures of any kind have the same blocks."""
    if isinstance(config, FallbackConfig):
        return not config.differences(other)
    return isinstance(other, LanguageConfig) and not config.differences(other)


def coming_checkpoint() -> tuple[str, bool] | None:
    """Find what the runner that is building a model will load into it.

    Returns:
        The file, and whether a run goes on from it; ``None`` without such a runner.
    """
    runner = building_runner()
    path, resume = (None, False) if runner is None else start_of(runner)
    return (path, resume) if path else None


def stored_architecture(checkpoint: str) -> AnyConfig | None:
    """Read the architecture that a checkpoint of ours states.

    Args:
        checkpoint: A file or an address.

    Returns:
        That of the language blocks in it; ``None`` if it is no such file.
    """
    try:
        found = own_record(read_weights(checkpoint), checkpoint)
        return read_architecture(found[1].get("config")) if found else None
    except CheckpointError:
        return None
