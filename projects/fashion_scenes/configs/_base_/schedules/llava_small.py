# Both stages of a small LLaVA: AdamW, iterations, warm-up, cosine.

# often changed
lr = 5e-4  # at batch 8
max_iters = 200

# sometimes changed
weight_decay = 0.0  # as LLaVA
encoder_lr_mult = 0.1  # at the projector's rate the vision encoder forgets what it sees
warmup = 20  # iterations

# never changed
grad_max_norm = 1.0
lr_min = 1e-5

optim_wrapper = dict(
    type="lbbt_mm.AutocastOptimWrapper",  # bf16 on CPU and GPU
    optimizer=dict(type="AdamW", lr=lr, weight_decay=weight_decay, fused=True),
    clip_grad=dict(max_norm=grad_max_norm),
    paramwise_cfg=dict(custom_keys=dict(vision_encoder=dict(lr_mult=encoder_lr_mult))),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, begin=0, end=warmup, by_epoch=False),
    dict(
        type="CosineAnnealingLR",
        eta_min=lr_min,
        begin=warmup,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(fp16=True)  # bf16 on a CPU
test_cfg = dict(fp16=True)
auto_scale_lr = dict(base_batch_size=8)
