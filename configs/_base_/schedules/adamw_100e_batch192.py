# The paper's bridge on ImageNet-1K: 100 epochs, 6 GPUs with 32 images each. With other
# numbers, train with --auto-scale-lr.
_base_ = "./adamw_400e.py"

lr = 7.5e-4  # 1e-3 x batch 192 / 256, the authors' rule
max_epochs = 100
val_interval = 20  # epochs between clean passes

optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_epochs=max_epochs, val_interval=val_interval)
auto_scale_lr = dict(base_batch_size=192)
