"""Random state in checkpoints: a resumed run goes on as if it had never stopped."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from lbbt_mm.registry import HOOKS

_KEY = "random_state"


def random_state() -> dict[str, Any]:
    """Read all random number generators of this process.

    Returns:
        Tensors and plain types only, so that a checkpoint with them still loads where
        nothing else is allowed (``weights_only=True``). ``'cuda'`` is there if CUDA has
        been used, and of the current device: a process trains on one.
    """
    version, words, gauss = random.getstate()
    name, key, position, has_gauss, cached = np.random.get_state()
    state = dict(
        python=[version, torch.tensor(words), gauss],
        numpy=[
            name,
            torch.tensor(key.astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Set all random number generators of this process.

    Args:
        state: From :func:`random_state`; its tensors may be on any device.
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, key, *rest = state["numpy"]
    np.random.set_state((name, key.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Keep the state of all random number generators in checkpoints.

    A run that was killed and resumed from the checkpoint of an epoch goes on with the
    numbers (augmentation, dropout, drop path) that the uninterrupted run would have
    drawn. On a CPU in one process the weights are then equal bit by bit; a GPU adds
    what its kernels do in no fixed order. Each process has its own state in the
    checkpoint, in the order of ranks; a run that is resumed on another number of
    processes starts from its seed, and says so.

    Validation draws numbers as well. They are taken back after it, so that training
    is the same whether and how often one validates.

    What is not exact:

    * Workers of a data loader draw the augmentation themselves and start from a fixed
      seed. With ``persistent_workers=False`` they do so in each epoch, and resuming is
      exact. Persistent workers go on where they were, which nobody can restore; their
      first epoch after a resume is augmented as the first of all was.
    * Loops by iterations, with ``num_workers=0`` and random augmentation: the first
      batch after a resume was read before the numbers were set back. Dropout and drop
      path are exact.
    """

    # Before the other hooks: what they draw belongs to the epoch, or to validation.
    priority = "HIGHEST"

    def __init__(self) -> None:
        self._to_restore: dict | None = None
        self._of_all_ranks: list[dict] | None = None
        self._before_val: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what the checkpoint has; whether this is a resume shows later."""
        self._to_restore = checkpoint.get(_KEY, {})

    def before_train_epoch(self, runner: Runner) -> None:
        """Restore, once, after everything that prepares a resumed run."""
        if hasattr(runner.train_loop, "run_epoch"):
            self._restore(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """The same in loops by iterations, which first read past what was trained on.

        Reading draws numbers.
        """
        self._restore(runner)

    def _restore(self, runner: Runner) -> None:
        saved, self._to_restore = self._to_restore, None
        if saved is None or runner.iter == 0:  # `load_from` starts a new run
            return
        states = saved.get("states", [])
        world = get_world_size()
        if len(states) == world:
            set_random_state(states[get_rank()])
            runner.logger.info(
                "RandomStateHook: random numbers go on as the checkpoint left them"
                + self._but(runner)
            )
            return
        found = (
            f"has the random state of {len(states)} process(es), this run has {world}"
            if states
            else "has no random state (it was written without this hook, or by several "
            "processes in a loop that counts iterations)"
        )
        runner.logger.warning(
            f"RandomStateHook: the checkpoint {found}, so augmentation and dropout "
            "start from the seed: a valid run, but not the one that was interrupted."
        )

    @staticmethod
    def _but(runner: Runner) -> str:
        if not hasattr(runner.train_loop, "run_epoch"):
            return ", except for the first batch's augmentation without workers."
        if getattr(runner.train_dataloader, "persistent_workers", False):
            return ", except in the data loader's workers, which are persistent."
        return "."

    def after_train_epoch(self, runner: Runner) -> None:
        """With several processes: gather their states, which only rank 0 saves."""
        if get_world_size() > 1:
            self._of_all_ranks = all_gather_object(random_state())

    def before_val(self, runner: Runner) -> None:
        """Remember where training stopped."""
        self._before_val = random_state()

    def after_val(self, runner: Runner) -> None:
        """Training goes on where it stopped."""
        if self._before_val is not None:
            set_random_state(self._before_val)
        self._before_val = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states; the best checkpoint is saved during validation."""
        if get_world_size() > 1:
            states = self._of_all_ranks or []
        else:
            states = [self._before_val or random_state()]
        checkpoint[_KEY] = dict(states=states)
