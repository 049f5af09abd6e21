# LLaVA's second stage: the first one's schedule at a smaller rate and batch.
_base_ = "./llava_stage1.py"

# often changed
lr = 2e-5  # at batch 128

optim_wrapper = dict(optimizer=dict(lr=lr))
auto_scale_lr = dict(base_batch_size=128)
