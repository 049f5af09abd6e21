"""Which parts of a LLaVA train, and which of them a checkpoint holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.record import decode_record, encode_record
from lbbt_mm.models.multimodal.llava_settings import (
    differences,
    same_weights,
    sample_weights,
    settings,
)
from lbbt_mm.version import require

PARTS = ("vision_encoder", "projector", "language_model")
RECORD = "llava_record"
"""Name in a state dict under which a checkpoint says what it was trained on."""


def with_lora(language_model: nn.Module, options: Mapping[str, Any]) -> nn.Module:
    """Put peft's LoRA around a language model; all else in it is frozen.

    Args:
        language_model: Of transformers.
        options: Arguments of ``peft.LoraConfig``: ``r``, ``lora_alpha``,
            ``lora_dropout``, ``target_modules``, ...

    Raises:
        ImportError: peft is not installed.
        ValueError: peft does not know an option, or finds no such module.
    """
    require("peft", "LLaVA(train_language=dict(...))")
    from peft import LoraConfig, get_peft_model

    try:
        config = LoraConfig(task_type="CAUSAL_LM", **dict(options))
        return get_peft_model(language_model, config)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "train_language: expected 'none', 'all' or arguments of peft.LoraConfig, "
            f"got {dict(options)}: {error}"
        ) from error


def recompute_frozen(language_model: nn.Module, mode: bool) -> None:
    """Let a frozen language model with gradient checkpointing really recompute.

    transformers asks the blocks' ``training``, which a frozen model's are not in,
    though gradients pass through it. Only the blocks' own flag is set, so that the
    dropout modules in them stay off.

    Args:
        language_model: Of transformers, in evaluation mode.
        mode: Whether the whole model trains.
    """
    for module in language_model.modules():
        # A block with a number `dropout` (OPT) would drop by its own flag.
        if getattr(module, "gradient_checkpointing", False) and not getattr(
            module, "dropout", 0
        ):
            module.training = mode


def part_of(name: str) -> str:
    """Tell which of :data:`PARTS` a name in the model's state dict belongs to."""
    first = name.partition(".")[0]
    return "projector" if first == "image_newline" else first


def count_parameters(model: nn.Module) -> dict[str, dict[str, int]]:
    """Count and log each part's: ``{part: {'trained': ..., 'total': ...}}``."""
    counts = {part: dict(trained=0, total=0) for part in PARTS}
    for name, parameter in model.named_parameters():
        of = counts[part_of(name)]
        of["total"] += parameter.numel()
        of["trained"] += parameter.numel() * parameter.requires_grad
    said = ", ".join(
        f"{part} {of['trained'] / 1e6:.2f} of {of['total'] / 1e6:.2f} M"
        for part, of in counts.items()
    )
    trained = sum(of["trained"] for of in counts.values())
    print_log(f"LLaVA trains {trained / 1e6:.2f} M parameters: {said}.", "current")
    return counts


class HeldParts:
    """What a checkpoint of a LLaVA holds: what was trained, in this stage or before.

    Encoder and projector are held whole or not at all, of the language model the
    parameters that train: all, LoRA's, or none. What is loaded is held from then on.

    A checkpoint also says with which settings it was trained. Loading refuses what
    would make another function of its tensors (LoRA's scaling, the projector's
    settings). Another prompt, other images or other frozen weights are right for a next
    stage of training: loading says them, and :meth:`check_answers` refuses them.

    Args:
        model: With the parts as attributes.
        record: What the checkpoint says about what it was trained on.
        configs: Of ``vision_encoder`` and ``projector``.
        language_weights: A sample of the language model's weights before training.
    """

    def __init__(
        self,
        model: nn.Module,
        record: Mapping[str, Any],
        configs: Mapping[str, Mapping],
        language_weights: list[float] | None = None,
    ) -> None:
        self.record = dict(record)
        self.settings = settings(model, configs)
        self.language_weights = language_weights
        self._trained_with: dict[str, Any] = {}  # of the checkpoint that was loaded
        self._unlike: list[str] = []
        trained = {n for n, p in _parameters(model).items() if p.requires_grad}
        self.parts = {part_of(name) for name in trained} - {"language_model"}
        self.names = {name for name in trained if part_of(name) == "language_model"}

    def holds(self, name: str) -> bool:
        """Whether a name of the state dict is held."""
        return part_of(name) in self.parts or name in self.names

    def trained(self, images: Mapping[str, Any]) -> None:
        """Take note of a step of training: from now on the model's settings hold."""
        self.settings |= images
        self._trained_with, self._unlike = {}, []

    def check_answers(self, model: Any, images: Mapping[str, Any]) -> None:
        """Refuse to answer otherwise than the loaded checkpoint was trained to.

        Raises:
            CheckpointError: Settings or frozen weights are others.
        """
        stored = self._trained_with
        if not stored:
            return
        unlike = list(self._unlike)
        unlike += differences(images, stored, list(images))
        now = dict(language_model=self.language_weights)
        if "vision_encoder" not in self.parts:
            now["vision_encoder"] = sample_weights(model.vision_encoder.parameters())
        unlike += [
            f"the frozen weights of the {part}"
            for part, sample in now.items()
            if not same_weights(sample, stored.get(f"{part}_weights"))
        ]
        if unlike:
            raise CheckpointError(
                "LLaVA: the checkpoint was not trained to answer with the settings "
                f"that the config builds (built != stored: {'; '.join(unlike)}); build "
                "the model with those of the checkpoint, or train it on."
            )
        self._trained_with = {}

    def reduce(self, model: nn.Module, state: dict[str, Any], prefix: str) -> None:
        """Take out of a state dict, in place, what is not held; add the record."""
        record = dict(self.record, settings=dict(self.settings))
        if "vision_encoder" not in self.parts:
            names = [
                prefix + n for n in _names(model) if part_of(n) == "vision_encoder"
            ]
            record["settings"]["vision_encoder_weights"] = sample_weights(
                state[name] for name in names if name in state
            )
        if self.language_weights is not None and not self._whole_language(model):
            record["settings"]["language_model_weights"] = self.language_weights
        for name in [name for name in state if name.startswith(prefix)]:
            if not self.holds(name[len(prefix) :]):
                del state[name]
        state[prefix + RECORD] = encode_record(record)

    def _whole_language(self, model: nn.Module) -> bool:
        own = {n for n in _names(model) if part_of(n) == "language_model"}
        return bool(self.names) and self.names >= own

    def complete(self, model: nn.Module, state: dict[str, Any], prefix: str) -> None:
        """Check a state dict that is being loaded, and fill in, in place, the rest.

        Args:
            model: The model that loads it; parts that are not in ``state`` keep their
                weights.
            state: Edited in place.
            prefix: What stands before the model's names.

        Raises:
            CheckpointError: It was trained on a language model of another shape, or the
                tensors of a part that it holds are not this model's.
        """
        record = decode_record(state.pop(prefix + RECORD, None)) or {}
        self._check_language(record)
        sharded = "_fsdp_wrapped_module" in prefix
        own = _names(model) if sharded else _state(model)
        given = {n[len(prefix) :] for n in state if n.startswith(prefix)}
        given = {name for name in given if part_of(name) in PARTS}
        here = {part_of(name) for name in given}
        if not here:
            raise CheckpointError(
                "LLaVA: expected a checkpoint with one of vision_encoder, projector "
                f"or language_model, got {sorted(state)[:3]}..."
            )
        language = {name for name in given if part_of(name) == "language_model"}
        names = self.names | language
        # A part that is there has to be there whole; of the language model only what
        # trains.
        needed = {
            name
            for name in own
            if part_of(name) in here
            and (name in names or part_of(name) != "language_model")
        }
        # LLaVA-1.6 adds the newline in its second stage.
        unknown = given - set(own)
        if sharded:
            unknown = {n for n in unknown if not n.endswith("_extra_state")}
        self._check_names(needed - given - {"image_newline"}, unknown)
        for name in () if sharded else sorted(given):
            got, built = state[prefix + name], own[name]
            shapes = getattr(got, "shape", None), getattr(built, "shape", None)
            if shapes[0] != shapes[1] and not name.endswith("_extra_state"):
                raise CheckpointError(
                    f"LLaVA: expected {name} of shape {tuple(shapes[1] or ())}, the "
                    f"checkpoint has {tuple(shapes[0] or ())}; build the model with "
                    "the config that the checkpoint was trained with."
                )
        self._compare(record.get("settings"), here)
        self.parts |= here & {"vision_encoder", "projector"}
        self.names = names
        for part in sorted(set(PARTS) - here):
            print_log(
                f"LLaVA: no {part} in the checkpoint, it keeps its own weights.",
                "current",
            )
        # FSDP keeps what is absent, and checks shapes when it copies.
        for name in () if sharded else set(own) - given:
            state[prefix + name] = own[name]

    def _compare(self, stored: Mapping[str, Any] | None, here: set[str]) -> None:
        """Compare the settings of a checkpoint, which has the parts ``here``."""
        if stored is None:
            print_log(
                "LLaVA: the checkpoint does not say its settings (chat template, "
                "tokeniser, preprocessing, scaling of LoRA, ...), which are not "
                "compared with the config's.",
                "current",
            )
            self._trained_with, self._unlike = {}, []
            return
        names = sorted(self.settings.keys() & stored.keys())
        of_projector = [name for name in names if name.startswith("projector.")]
        fixed = of_projector if "projector" in here else []
        if "language_model" in here:
            fixed = [*fixed, "lora_scaling"]
        wrong = differences(self.settings, stored, fixed)
        if wrong:
            raise CheckpointError(
                "LLaVA: expected the settings that the checkpoint's tensors were "
                f"trained with, got (built != stored) {'; '.join(wrong)}; build the "
                "model with the config that the checkpoint was trained with."
            )
        rest = [name for name in names if name not in [*of_projector, "lora_scaling"]]
        self._trained_with = dict(stored)
        self._unlike = differences(self.settings, stored, rest)
        if self._unlike:
            print_log(
                "LLaVA: the checkpoint was trained with other settings than the "
                f"config builds (built != stored: {'; '.join(self._unlike)}). A next "
                "stage of training may be; an evaluation is refused.",
                "current",
                logging.WARNING,
            )

    def _check_names(self, missing: set[str], unknown: set[str]) -> None:
        # mmengine would only log both, and another model would answer.
        both = {
            "tensors that the checkpoint has not": missing,
            "that only the checkpoint has": unknown,
        }
        wrong = [
            f"{len(names)} {what}, such as {min(names)}"
            for what, names in both.items()
            if names
        ]
        if wrong:
            raise CheckpointError(
                "LLaVA: expected a checkpoint with the tensors that the config builds, "
                f"got {'; '.join(wrong)}; build the model with the config that "
                "the checkpoint was trained with (projector, train_language)."
            )

    def _check_language(self, stored: Mapping[str, Any]) -> None:
        keys = ("model_type", "width", "vocabulary", "layers")
        wrong = differences(self.record, stored, keys)
        if wrong:
            raise CheckpointError(
                f"LLaVA: the checkpoint was trained on {stored.get('language_model')}, "
                f"the config builds {self.record['language_model']} (built != stored: "
                f"{'; '.join(wrong)}). Transfer a LangBridge projector with "
                "tools/transfer_projector.py."
            )


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    # Tied weights have two names in a state dict.
    return dict(model.named_parameters(remove_duplicate=False))


def _state(model: nn.Module) -> dict[str, Tensor]:
    """All of the model's state dict, what is not held included."""
    state: dict[str, Tensor] = {}
    for name, child in model.named_children():
        state.update(child.state_dict(prefix=f"{name}."))
    state.update({name: value for name, value in model.named_parameters(recurse=False)})
    return state


def _names(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by their names without FSDP's wrappers; their shapes are a shard's."""
    wrappers = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
    found = {}
    for name, parameter in _parameters(model).items():
        for wrapper in wrappers:
            name = name.replace(wrapper, "")
        found[name] = parameter
    return found
