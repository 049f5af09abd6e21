# As mmdet.py, counted in iterations.
_base_ = "./mmdet.py"

# sometimes changed
checkpoint_interval = 1_000  # iterations

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(interval=checkpoint_interval, by_epoch=False),
)
log_processor = dict(by_epoch=False)
