"""Start the transformer layers of any model from a language model's blocks."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.files import write_whole
from lbbt_mm.language.checkpoint import open_checkpoint
from lbbt_mm.language.errors import MissingCheckpoint
from lbbt_mm.language.storage import load_state_dict
from lbbt_mm.neighbours.mmengine import model_of, start_of
from lbbt_mm.registry import HOOKS
from lbbt_mm.transplant import CopyPlan, CopyReport, TransplantError, make_plan, mimetic
from lbbt_mm.transplant.entries import refuse_overlap

_TARGETS = ("module", "final_norm", "positions")  # of a copy: names in the model


class _InitThenCopy:
    """A model's ``init_weights`` followed by copies, however often it is called."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._original = vars(model).get("init_weights")  # of somebody else's hook
        self.copies: list[Callable[[nn.Module], None]] = []

    @classmethod
    def of(cls, model: Any) -> _InitThenCopy:
        """Return the one of this model, put in place if it has none yet."""
        if not isinstance(vars(model).get("init_weights"), cls):
            model.init_weights = cls(model)
        return model.init_weights

    def __call__(self) -> None:
        if self._original is not None:
            self._original()
        elif hasattr(type(self._model), "init_weights"):
            of_class: Any = type(self._model)
            of_class.init_weights(self._model)
        for then in self.copies:
            then(self._model)

    def __deepcopy__(self, memo: dict[int, Any]) -> _InitThenCopy:
        # EMAHook copies the model with all that hangs on it; the twin's own
        # init_weights must not fill the original.
        twin = _InitThenCopy(memo.get(id(self._model), self._model))
        twin._original = copy.deepcopy(self._original, memo)
        twin.copies = list(self.copies)
        return twin

    def drop(self, then: Callable[[nn.Module], None]) -> None:
        """Copy this no more; after the last, the model gets its own function back."""
        self.copies.remove(then)
        if self.copies:
            return
        vars(self._model).pop("init_weights", None)
        if self._original is not None:
            self._model.init_weights = self._original


@HOOKS.register_module()
class LanguageInitHook(Hook):
    """Copy blocks of a language model into a built model's transformer layers.

    In a config of mmdet, mmseg or mmpretrain::

        custom_hooks = [dict(
            type='lbbt_mm.LanguageInitHook', language_model='gpt2',
            copies=[dict(module='decode_head.layers', blocks='0:2',
                         final_norm='decode_head.decoder_norm')])]

    The order is initialisation < this copy < ``load_from`` < resume: the copy is the
    last act of the model's ``init_weights``, on every process, and mmengine broadcasts
    the result. A resumed run takes its weights from the checkpoint and does not need
    the language model's file; neither do validation and testing, nor a run whose
    ``load_from`` has all of the layers. The plan is checked completely before the
    first number is copied.

    What was copied goes to the log as a table, to ``language_init.json`` in the work
    folder, and with the source's name and hash into every checkpoint's ``meta``.

    Args:
        language_model: A hub id, folder or file; see
            :func:`lbbt_mm.language.checkpoint.open_checkpoint`. Or ``'mimetic'``, a
            baseline: attention starts in closed form (arXiv 2305.09828), all else as
            it is; what ``copies`` says of blocks and norms has no meaning then.
        copies: What to fill with which blocks; each the fields of
            :class:`lbbt_mm.transplant.entries.Copy`.
        accept: What may make the copy inexact: ``'norm_order'``, ``'activation'``,
            ``'norm_eps'``, ``'extra_parameters'``, ``'width'``. It then appears in the
            report.
        pretrained: ``False`` copies nothing and reads nothing: the scratch
            initialisation, whose config differs from the language one in one word.

    Raises:
        TransplantError: The blocks do not fit, or the runner is a FlexibleRunner;
            nothing was copied.
        CheckpointError: The language model cannot be read.
    """

    copies_language_blocks = True  # see lbbt_mm.safety.dumped_config

    # Before EMAHook (NORMAL) validates or trains with what it copied at the start.
    priority = "HIGH"

    def __init__(
        self,
        language_model: str,
        copies: Sequence[Mapping[str, Any]],
        accept: Sequence[str] = (),
        pretrained: bool = True,
    ) -> None:
        self.language_model = language_model
        self.pretrained = pretrained
        self.copies = copies
        self.accept = accept
        self.report: CopyReport | None = None
        self._plan: CopyPlan | mimetic.MimeticPlan | None = None
        self._runner: Runner | None = None
        self._resumed = False
        self._origins: list[dict[str, Any]] | None = None

    def before_run(self, runner: Runner) -> None:
        """Wrap ``init_weights``; nothing is read yet."""
        if not isinstance(runner, Runner):
            raise TransplantError(
                f"LanguageInitHook expects mmengine's Runner, got "
                f"{type(runner).__name__}: that initialises, loads and shards the "
                f"weights before any hook runs, so a copy would come too late or find "
                f"only a part of each tensor. Train with Runner; or copy once with "
                f"Runner, save, and name that file in load_from."
            )
        path, resume = start_of(runner)
        self._resumed = resume and path is not None
        if self.pretrained and self._runner is None and not self._resumed:
            self._runner = runner
            _InitThenCopy.of(model_of(runner)).copies.append(self._copy)

    def before_train(self, runner: Runner) -> None:
        """Let EMA start from what training starts from; compare the processes."""
        if not self.pretrained:
            runner.logger.info(
                f"LanguageInitHook: pretrained=False, so nothing is copied from "
                f"{self.language_model}: this is the scratch initialisation."
            )
        elif self._resumed:
            runner.logger.info(
                f"LanguageInitHook: resumed, so nothing is copied from "
                f"{self.language_model}; all weights come from the checkpoint."
            )
        if self._resumed:
            return
        model = model_of(runner)
        for hook in runner.hooks:
            # It copied the model before the model was initialised, and would train
            # right, from its first update on, but validate wrong before it.
            if isinstance(hook, EMAHook) and not hook.ema_model.steps:
                hook.ema_model.module.load_state_dict(model.state_dict())
        if self._plan is not None and get_world_size() > 1:
            self._compare_processes(runner, self._plan.checksum(model))

    def after_run(self, runner: Runner) -> None:
        """Unwrap ``init_weights``."""
        if self._runner is not None:
            _InitThenCopy.of(model_of(runner)).drop(self._copy)
            self._runner = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the origin of the weights into the checkpoint's ``meta``."""
        if self.report is not None:
            origins = checkpoint.setdefault("meta", {}).setdefault("language_init", [])
            origins.append(dict(label=self.report.label, sha256=self.report.sha256))
        elif self._origins:
            checkpoint.setdefault("meta", {})["language_init"] = self._origins

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the origin that a checkpoint states."""
        self._origins = (checkpoint.get("meta") or {}).get("language_init")

    def copy_into(self, model: nn.Module) -> CopyReport | None:
        """Fill a model outside of a run, as the hook does at the start of one.

        Args:
            model: Built and initialised; filled in place.

        Returns:
            What was copied; ``None`` with ``pretrained=False``, which copies nothing.

        Raises:
            TransplantError: The blocks do not fit; nothing was copied.
            CheckpointError: The language model cannot be read.
        """
        if self.pretrained:
            self._copy(model)
        return self.report

    def _copy(self, model: nn.Module) -> None:
        """Plan (the first time) and copy; the last act of ``init_weights``."""
        if self._plan is None and self.language_model == mimetic.SOURCE:
            self._plan = mimetic.make_mimetic_plan(model, self.copies)
        if self._plan is None:
            try:
                checkpoint = open_checkpoint(self.language_model)
            except MissingCheckpoint as missing:
                path = start_of(self._runner)[0] if self._runner is not None else None
                if path is None or not self._fills(path, model):
                    raise
                print_log(
                    f"LanguageInitHook: nothing is copied, for all of these layers "
                    f"come from {path}. ({missing})",
                    logger="current",
                )
                return
            self._plan = make_plan(model, checkpoint, self.copies, self.accept)
        first = self.report is None
        if first:
            self._refuse_overlap(model)
        self.report = self._plan.apply(model)
        if first and self._runner is not None:
            self._runner.logger.info("LanguageInitHook:\n" + self.report.to_text())
            self._write_report(self._runner, self.report)

    def _refuse_overlap(self, model: nn.Module) -> None:
        """Refuse what another of these hooks has filled before."""
        copies = getattr(vars(model).get("init_weights"), "copies", [])
        hooks = [getattr(then, "__self__", None) for then in copies]
        refuse_overlap(
            {
                f"hook {number} ({hook.language_model})": hook._plan.rows
                for number, hook in enumerate(hooks, 1)
                if isinstance(hook, LanguageInitHook) and hook._plan is not None
            }
        )

    def _fills(self, path: str, model: nn.Module) -> bool:
        """Whether load_from overwrites whatever would be copied."""
        if not Path(path).is_file():
            return False
        loaded = {
            name.removeprefix("module."): getattr(tensor, "shape", None)
            for name, tensor in load_state_dict(Path(path)).items()
        }
        targets = [copied.get(key) for copied in self.copies for key in _TARGETS]
        roots = tuple(f"{target}." for target in targets if target)
        wanted = {
            name: parameter.shape
            for name, parameter in model.named_parameters()
            if f"{name}.".startswith(roots)
        }
        return bool(wanted) and all(
            loaded.get(name) == shape for name, shape in wanted.items()
        )

    def _write_report(self, runner: Runner, report: CopyReport) -> None:
        if not is_main_process():
            return
        # A config may have several of these hooks.
        hooks = [hook for hook in runner.hooks if isinstance(hook, LanguageInitHook)]
        number = hooks.index(self)
        name = f"language_init_{number}.json" if number else "language_init.json"
        path = Path(runner.work_dir, name)
        try:
            write_whole(path, json.dumps(report.to_dict(), indent=1) + "\n")
        except OSError as error:  # not worth a training run: the log has it too
            runner.logger.warning(
                f"LanguageInitHook: the report could not be written to {path} "
                f"({error.strerror}); it stands above."
            )

    def _compare_processes(self, runner: Runner, checksum: str) -> None:
        sums = all_gather_object(checksum)
        runner.logger.info(
            "LanguageInitHook: the filled parameters, by process: "
            + ", ".join(f"{rank}: {text[:16]}" for rank, text in enumerate(sums))
        )
        if len(set(sums)) > 1:
            raise RuntimeError(
                "The processes start from different weights in the layers that were "
                "filled from the language model; do all machines read the same files?"
            )
