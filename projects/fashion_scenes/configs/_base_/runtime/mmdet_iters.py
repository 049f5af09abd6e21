# As mmdet.py, counted in iterations; the leaf says how many lie between checkpoints.
_base_ = "../../../../../configs/_base_/runtime/mmdet.py"

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False)
)
log_processor = dict(by_epoch=False)
