"""Random state in checkpoints: a resumed run goes on as if it had never stopped."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.hooks.gradients import (
    accumulates,
    gradients_in_flight,
    set_gradients_in_flight,
)
from lbbt_mm.hooks.module_state import (
    changed_attributes,
    plain_attributes,
    set_attributes,
)
from lbbt_mm.hooks.seeded_batches import SeededBatches, seed_batches
from lbbt_mm.registry import HOOKS

_KEY = "random_state"
_GRADIENTS = "gradients_in_flight"


def random_state() -> dict[str, Any]:
    """Read all random number generators of this process.

    Returns:
        Tensors and plain types only, so that a checkpoint with them still loads where
        nothing else is allowed (``weights_only=True``). ``'cuda'`` is there if CUDA has
        been used, and of the current device: a process trains on one.
    """
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state()
    name, key, position, has_gauss, cached = legacy
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
    """Make a resumed run the one that was interrupted.

    On a CPU in one process the weights are equal bit by bit, from a checkpoint of an
    epoch or of any iteration; a GPU adds what its kernels do in no fixed order. For
    this, the hook does four things:

    * The random numbers of augmentation (``random``, ``numpy.random``, torch) become a
      function of seed, process, epoch and batch. The number of workers and whether they
      persist then change nothing, in loops by epochs and by iterations.
    * The state of all other random numbers (dropout, drop path) is in the checkpoint,
      of each process; so are the gradients that ``accumulative_counts`` still collects,
      and what modules remember outside of tensors (mmdet's ``BatchSyncRandomResize``).
    * A run that is resumed from the middle of an epoch goes on there, and passes over
      the batches before without loading them.
    * Validation draws numbers as well. They are taken back after it, so that training
      is the same whether and how often one validates.

    What is not exact is said in the log, when training starts if it can be known then:
    another number of processes, another batch size or number of batches, gradient
    accumulation of several processes that is saved between two steps (the gradients of
    all processes are not kept), ``fast_forward_on_resume=True``, datasets without
    indices, transforms that keep images of earlier batches (``CachedMosaic``),
    ``EarlyStoppingHook``, which counts anew, and a checkpoint that was written without
    this hook.

    Example::

        custom_hooks = [dict(type="lbbt_mm.RandomStateHook")]
    """

    # Before the other hooks: what they draw belongs to the epoch, or to validation.
    priority = "HIGHEST"

    def __init__(self) -> None:
        self._to_restore: dict | None = None
        self._gradients: dict = {}
        self._of_all_ranks: list[dict] | None = None
        self._before_val: dict | None = None
        self._model: nn.Module | None = None
        self._batches: SeededBatches | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what the checkpoint has; whether this is a resume shows later."""
        self._to_restore = checkpoint.get(_KEY, {})
        self._gradients = checkpoint.get(_GRADIENTS, {})

    def before_train(self, runner: Runner) -> None:
        """Number the batches; on a resume, from where the checkpoint stands."""
        saved = self._to_restore if runner.iter else None  # not of a `load_from`
        self._model = runner.model
        self._attributes = plain_attributes(runner.model)
        self._doubts: list[str] = []
        loader = runner.train_dataloader
        self._by_epoch = hasattr(runner.train_loop, "run_epoch")
        self._skip = 0
        seed = _seed_of(runner)
        if saved and "batches" in saved:
            seed = saved["batches"]["seed"]
            self._compare(saved["batches"], loader)
        sampler = _sampler_of(loader)
        if saved and isinstance(saved.get("batches", {}).get("sampler"), int):
            # Without a seed in the config, mmengine has drawn a new one by now.
            sampler.seed = saved["batches"]["sampler"]
        batches = seed_batches(loader, seed, get_rank())
        if isinstance(batches, str):
            self._batches = None
            self._doubts.append(f"{batches}, so that its random numbers go unnoted")
        else:
            self._batches = batches
        cached = sorted(_keeping_images(loader.dataset))
        if cached:
            self._doubts.append(f"{', '.join(cached)} keeps images of earlier batches")
        if not self._by_epoch and getattr(
            runner.train_loop, "fast_forward_on_resume", False
        ):
            self._doubts.append("fast_forward_on_resume=True begins the images anew")
        if any(isinstance(hook, EarlyStoppingHook) for hook in runner.hooks):
            self._doubts.append("EarlyStoppingHook waits anew")
        if get_world_size() > 1 and _may_save_between_steps(runner):
            self._doubts.append(
                "a checkpoint between two steps of accumulated gradients lacks them, "
                "as several processes train: save at a multiple of accumulative_counts"
            )
        if self._doubts:
            runner.logger.warning(
                "RandomStateHook: a resumed run will not be exactly the one that was "
                f"interrupted: {'; '.join(self._doubts)}."
            )
        if saved and self._by_epoch and self._batches is not None:
            self._go_on_in_mid_epoch(runner, saved)

    def _compare(self, was: dict, loader: Any) -> None:
        for key, now in _describe(loader).items():
            if was.get(key) != now:
                self._doubts.append(f"{key} was {was.get(key)} and is {now}")

    def _go_on_in_mid_epoch(self, runner: Runner, saved: dict) -> None:
        """Leave out what was trained on; mmengine begins the epoch anew."""
        length = len(runner.train_dataloader)
        done = runner.iter - runner.epoch * length
        if "batches" not in saved or not 0 < done <= length:
            return
        self._skip = done
        loop = runner.train_loop
        run_iter = loop.run_iter

        def shifted(idx: int, data_batch: Any) -> None:
            run_iter(idx + done if self._skip else idx, data_batch)

        loop.run_iter = shifted
        runner.logger.info(
            f"RandomStateHook: goes on after batch {done} of {length} of the epoch."
        )

    def before_train_epoch(self, runner: Runner) -> None:
        """Restore, once, after everything that prepares a resumed run."""
        if not self._by_epoch:
            return
        if self._batches is not None:
            self._batches.epoch, self._batches.position = runner.epoch, 0
            self._batches.skip = self._skip
        if not self._skip:
            self._restore(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """The same in mid-epoch, and in loops by iterations."""
        self._restore(runner)

    def _restore(self, runner: Runner) -> None:
        saved, self._to_restore = self._to_restore, None
        gradients, self._gradients = self._gradients, {}
        if saved is None or runner.iter == 0:  # `load_from` starts a new run
            return
        missing = set_gradients_in_flight(runner, gradients)
        if missing:
            runner.logger.warning(
                "RandomStateHook: the checkpoint lies between two steps of "
                f"accumulated gradients and {missing}, so the next step is made of "
                "fewer images: a valid run, but not the one that was interrupted."
            )
        states = saved.get("states", [])
        world = get_world_size()
        if len(states) == world:
            set_random_state(states[get_rank()])
            set_attributes(runner.model, states[get_rank()].get("modules", {}))
            if "batches" not in saved:
                self._doubts.append("the checkpoint is of an earlier lbbt_mm")
            doubts = f", except: {'; '.join(self._doubts)}" if self._doubts else ""
            runner.logger.info(
                "RandomStateHook: random numbers go on as the checkpoint left them"
                f"{doubts}."
            )
            return
        found = (
            f"has the random state of {len(states)} process(es), this run has {world}"
            if states
            else "has no random state (it was written without this hook)"
        )
        runner.logger.warning(
            f"RandomStateHook: the checkpoint {found}, so augmentation and dropout "
            "start from the seed: a valid run, but not the one that was interrupted."
        )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """With several processes: gather their states if a checkpoint is due."""
        if get_world_size() > 1 and _saves_now(runner):
            self.gather()

    def after_train_epoch(self, runner: Runner) -> None:
        """With several processes: gather their states, which only rank 0 saves."""
        if self._skip:
            self._restore(runner)  # the epoch was complete but for its end
            self._skip = 0
        self.gather()

    @property
    def resumes_in_mid_epoch(self) -> bool:
        """Whether a checkpoint of any iteration can be gone on from."""
        return self._batches is not None

    def gather(self) -> None:
        """Collect the states of all processes, all of which have to call it."""
        if get_world_size() > 1:
            self._of_all_ranks = all_gather_object(self._state())

    def _state(self) -> dict[str, Any]:
        if self._before_val is not None:
            return self._before_val
        if self._model is None:  # no training
            return random_state()
        changed = changed_attributes(self._model, self._attributes)
        return dict(random_state(), modules=changed)

    def before_val(self, runner: Runner) -> None:
        """Remember where training stopped."""
        self._before_val = self._state()
        self.gather()  # the best checkpoint is saved during validation

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
            states = [self._state()]
        checkpoint[_KEY] = dict(states=states)
        if self._batches is not None:
            checkpoint[_KEY]["batches"] = dict(
                seed=self._batches.seed,
                sampler=getattr(_sampler_of(runner.train_dataloader), "seed", None),
                **_describe(runner.train_dataloader),
            )
        if get_world_size() == 1 and "optimizer" in checkpoint:
            gradients = gradients_in_flight(runner)
            if gradients:
                checkpoint[_GRADIENTS] = gradients


def _describe(loader: Any) -> dict[str, Any]:
    """What a resumed run has to share with the one before."""
    batch_size = getattr(loader.batch_sampler, "batch_size", None)
    try:
        return dict(batch_size=batch_size, batches_per_epoch=len(loader))
    except TypeError:  # an IterableDataset
        return dict(batch_size=batch_size)


def _seed_of(runner: Runner) -> int:
    """Of all processes together; ``diff_rank_seed`` adds the rank to it."""
    options = getattr(runner, "_randomness_cfg", None) or {}
    seed = runner.seed or 0
    return (seed - (get_rank() if options.get("diff_rank_seed") else 0)) % 2**63


def _sampler_of(loader: Any) -> Any:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def _keeping_images(dataset: Any) -> set[str]:
    """Name the transforms of a dataset that keep images of earlier batches."""
    found: set[str] = set()
    transforms = getattr(getattr(dataset, "pipeline", None), "transforms", None)
    for transform in transforms if isinstance(transforms, (list, tuple)) else ():
        if hasattr(transform, "results_cache"):
            found.add(type(transform).__name__)
    several = getattr(dataset, "datasets", None)
    inner = several if isinstance(several, (list, tuple)) else ()
    for one in [getattr(dataset, "dataset", None), *inner]:
        if one is not None and one is not dataset:
            found |= _keeping_images(one)
    return found


def _may_save_between_steps(runner: Runner) -> bool:
    for count in accumulates(runner):
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.interval > 0:
                every = hook.interval
                every *= len(runner.train_dataloader) if hook.by_epoch else 1
                if every % count:
                    return True
    return False


def _saves_now(runner: Runner) -> bool:
    """Whether a checkpoint follows this iteration, by the rule of mmengine's hook."""
    return any(
        hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
        or (hook.save_last and hook.is_last_train_iter(runner))
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook) and not hook.by_epoch
    )
