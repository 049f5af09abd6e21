"""Training that shards a model over GPUs: mmengine's FSDP, one shard unit a block."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.optim import BaseOptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.overrides import TorchFunctionMode

from lbbt_mm.files import write_whole
from lbbt_mm.language.fallback_parts import FallbackBlock
from lbbt_mm.language.layers import TransformerBlock
from lbbt_mm.language.storage import load_pickle
from lbbt_mm.models import LanguageBackbone
from lbbt_mm.neighbours.mmengine import fsdp_strategy
from lbbt_mm.optim.autocast import AutocastOptimWrapper
from lbbt_mm.registry import FUNCTIONS, STRATEGIES

FSDPStrategy: Any = fsdp_strategy()


@FUNCTIONS.register_module(name=["is_transformer_block", "is_language_block"])
def is_transformer_block(module: nn.Module) -> bool:
    """Tell mmengine's ``activation_checkpointing`` what to recompute.

    Args:
        module: Any part of the model. Blocks are this package's, and the layers of
            transformers' language models, which it names ``LlamaDecoderLayer``,
            ``MistralDecoderLayer``, ``Qwen2DecoderLayer`` and so on.

    Example::

        strategy = dict(
            type="lbbt_mm.ShardedStrategy",
            activation_checkpointing=dict(check_fn="lbbt_mm.is_transformer_block"),
        )
    """
    kind = type(module)
    if isinstance(module, (TransformerBlock, FallbackBlock)):
        return True
    # By name: transformers need not be imported, nor every family listed.
    return not getattr(module, "held_by_block", False) and (
        kind.__module__.startswith("transformers.")
        and kind.__name__.endswith("DecoderLayer")
    )


@FUNCTIONS.register_module(name=["wrap_transformer_blocks", "wrap_language_blocks"])
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

    Example::

        model_wrapper = dict(auto_wrap_policy="lbbt_mm.wrap_transformer_blocks")
    """
    return recurse or is_transformer_block(module)


class _DrawNothing(TorchFunctionMode):
    """Leaves memory as it is where ``torch.nn.init`` would fill it."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


@STRATEGIES.register_module()
class ShardedStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy`` for models that no process should hold whole.

    Options are those of ``FSDPStrategy`` without ``state_dict_cfg`` and
    ``skip_init_weights``. What differs:

    - Only the first process draws the weights or reads the language model's, and FSDP
      hands them out unit by unit; the others never touch the memory of the whole
      model. mmengine fills it in every process.
    - A checkpoint is one file that everything else here opens: whole weights, and the
      optimiser's whole state. The first process streams it to disk under another name
      and then renames it. mmengine builds two more copies of it in memory.
    - Loading maps the file instead of reading it in every process, never puts it on
      the GPU and runs no code in it. Resuming works: mmengine hands the optimiser's
      state over in the order of torch 2.0, which later versions take for a model.
    - It runs on CPU too, for tests (not on torch 2.1, whose FSDP needs GPUs).

    Gradients must be clipped by a wrapper that knows of shards, which
    :class:`lbbt_mm.optim.AutocastOptimWrapper` does: the norm of one process's shards
    is not the norm.

    Args:
        **kwargs: ``model_wrapper``, ``activation_checkpointing`` and what mmengine's
            runner adds.

    Raises:
        RuntimeError: There is no group of processes to shard over.

    Example::

        runner_type = "FlexibleRunner"
        strategy = dict(
            type="lbbt_mm.ShardedStrategy",
            model_wrapper=dict(auto_wrap_policy="lbbt_mm.wrap_transformer_blocks"),
        )
    """

    model_wrapper: dict | None  # mmengine's, which has no types

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(state_dict_cfg="full", **kwargs)
        if not torch.distributed.is_initialized():
            raise RuntimeError(
                "ShardedStrategy expects several processes and was started as one. "
                "Start them with tools/dist_train.sh CONFIG PROCESSES, or with "
                "tools/slurm_train.sh."
            )
        # What is on the CPU already, or whole, cannot be moved there.
        offload = get_device() != "cpu" and self.world_size > 1
        self.state_dict_config.offload_to_cpu = offload
        self.optim_state_dict_config.offload_to_cpu = offload

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model; the first process alone fills its memory."""
        if is_main_process():
            return super().build_model(model)
        with _DrawNothing():
            return super().build_model(model)

    def _init_model_weights(self, model: nn.Module) -> nn.Module:
        wanted = self.dispatch_kwargs.get("init_weights_for_test_or_val", True)
        if wanted and is_main_process():
            model.init_weights()  # type: ignore[operator]  # of mmengine's BaseModule
        for module in model.modules():
            if isinstance(module, LanguageBackbone):
                module.expect_weights()
        return model

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        wrapper = dict(self.model_wrapper or dict(type="MMFullyShardedDataParallel"))
        if get_device() == "cpu":
            wrapper["device_id"] = "cpu"  # mmengine's default is a GPU's number
            # FSDP hands out what the first process has on GPUs only.
            for tensor in (*model.parameters(), *model.buffers()):
                torch.distributed.broadcast(tensor.data, 0)
        else:
            wrapper["sync_module_states"] = True
        self.model_wrapper = wrapper
        return super()._wrap_model(model)

    def build_optim_wrapper(
        self, optim_wrapper: Any, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        """Build the optimiser's wrapper.

        Raises:
            ValueError: It would clip each process's gradients by another norm.
        """
        built = super().build_optim_wrapper(optim_wrapper, model)
        clips = getattr(built, "clip_func", None) is nn.utils.clip_grad_norm_
        if clips and not isinstance(built, AutocastOptimWrapper):
            raise ValueError(
                f"{type(built).__name__} clips by the norm of one process's shards. "
                f"Use type='lbbt_mm.AutocastOptimWrapper' (dtype='float32' switches "
                f"autocast off), or no clip_grad."
            )
        return built

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Gather the shards in the first process, which writes one file."""
        checkpoint = dict(extra_ckpt or {}, state_dict=self.model_state_dict())
        if save_optimizer and hasattr(self, "optim_wrapper"):
            checkpoint["optimizer"] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, "param_schedulers"):
            checkpoint["param_schedulers"] = self.scheduler_state_dict()
        checkpoint.setdefault("meta", {}).update(
            seed=self.seed,
            time=time.strftime("%Y%m%d_%H%M%S"),
            mmengine=mmengine.__version__,
        )
        if callback is not None:
            callback(checkpoint)
        if is_main_process():
            write_whole(filename, lambda part: torch.save(checkpoint, part))

    def load_checkpoint(
        self, filename: str, *, callback: Callable | None = None, **kwargs: Any
    ) -> dict:
        """Load a checkpoint of a sharded or an unsharded run.

        Args:
            filename: A file; anything else that mmengine understands is read by it.
            callback: Edits the checkpoint before it is loaded.
            **kwargs: ``strict``; mmengine's other options do not apply.

        Returns:
            The checkpoint without its weights.
        """
        kwargs["map_location"] = "cpu"
        path = Path(filename).expanduser()
        if not path.is_file():
            return super().load_checkpoint(filename, callback=callback, **kwargs)
        self.logger.info(f"Load checkpoint from {filename}")
        checkpoint = load_pickle(path)  # mapped: all processes share its pages
        if callback is not None:
            callback(checkpoint)
        weights = checkpoint.pop("state_dict")
        self.load_model_state_dict(weights, strict=kwargs.get("strict", False))
        return checkpoint

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Take over the optimiser's state, each process its shards."""
        sharded = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model,
            optim=self.optim_wrapper.optimizer,
            optim_state_dict=state_dict,
        )
        self.optim_wrapper.load_state_dict(sharded)
