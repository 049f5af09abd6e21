# As long.py, with the model sharded over all processes by mmengine's FSDP strategy.
# What it costs in memory is in docs/distributed.md.
_base_ = "./long.py"

# often changed
checkpoint_interval = 20  # epochs; the file holds 12 bytes a parameter

# sometimes changed
param_dtype = "bfloat16"  # of the weights that a block gathers to compute with
reduce_dtype = "float32"  # of the gradients that are summed over processes
timeout = 3600  # seconds that processes wait while the first one reads or writes a file

runner_type = "FlexibleRunner"
strategy = dict(
    type="lbbt_mm.ShardedStrategy",
    model_wrapper=dict(
        type="MMFullyShardedDataParallel",
        sharding_strategy="FULL_SHARD",
        auto_wrap_policy="lbbt_mm.wrap_language_blocks",
        mixed_precision=dict(param_dtype=param_dtype, reduce_dtype=reduce_dtype),
        use_orig_params=True,  # frozen and trained parameters side by side
    ),
    # In place of the backbone's with_cp, which knows nothing of shards.
    activation_checkpointing=dict(check_fn="lbbt_mm.is_language_block"),
)
default_hooks = dict(checkpoint=dict(interval=checkpoint_interval))
env_cfg = dict(dist_cfg=dict(timeout=timeout))
