# How a run is logged, saved and seeded.

# often changed
seed = 0

# sometimes changed
log_interval = 16  # iterations
checkpoint_interval = 1  # epochs
checkpoint_share = 0.02  # of the time: one that would cost more is left out
max_keep_ckpts = 1
tf32 = True  # a GPU multiplies what is left in float32 on its tensor cores
compile_blocks = False  # for a GPU; slower on a CPU: docs/speed.md

default_scope = "mmpretrain"
default_hooks = dict(
    runtime_info=dict(type="lbbt_mm.DeferredLogHook", interval=log_interval),
    timer=dict(type="IterTimerHook"),
    # The last iteration is logged too: it holds the whole epoch's accuracy.
    logger=dict(type="LoggerHook", interval=log_interval, ignore_last=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="lbbt_mm.AtomicCheckpointHook",
        interval=checkpoint_interval,
        max_share=checkpoint_share,
        max_keep_ckpts=max_keep_ckpts,
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    config_names=dict(type="lbbt_mm.ConfigNamesHook"),
)
custom_hooks = [
    dict(type="lbbt_mm.TensorFloatHook", enabled=tf32),
    dict(type="lbbt_mm.CompileHook", enabled=compile_blocks),
    dict(type="lbbt_mm.ThroughputHook"),
    dict(type="lbbt_mm.RandomStateHook"),
    dict(type="lbbt_mm.TerminationHook"),
    dict(type="lbbt_mm.FolderLockHook"),
    dict(type="lbbt_mm.CheckDataHook"),
]
log_processor = dict(
    # Over the epoch so far: what the paper calls train accuracy, on the batches as
    # they were trained.
    custom_cfg=[
        dict(
            data_src="accuracy_top-1",
            method_name="mean",
            window_size="epoch",
            log_name="train_acc",
        )
    ]
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),  # tools/train.py takes gloo where there is no GPU
)
visualizer = dict(
    type="UniversalVisualizer", vis_backends=[dict(type="LocalVisBackend")]
)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=seed, deterministic=False)
