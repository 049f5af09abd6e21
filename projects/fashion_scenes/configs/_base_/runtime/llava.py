# As default.py, counted in iterations, for models that answer in words.
_base_ = "../../../../../configs/_base_/runtime/default.py"

default_scope = "lbbt_mm"
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False)
)
log_processor = dict(by_epoch=False, custom_cfg=[])
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
