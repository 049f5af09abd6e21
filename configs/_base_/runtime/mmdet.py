# As default.py, in the words of mmdet.
_base_ = "./default.py"

# sometimes changed
log_interval = 50  # iterations

default_scope = "mmdet"
default_hooks = dict(
    runtime_info=dict(interval=log_interval),
    logger=dict(interval=log_interval),
    visualization=dict(type="DetVisualizationHook"),
)
runtime_hooks = _base_.custom_hooks  # the leaf adds the one that copies blocks
log_processor = dict(
    _delete_=True, type="LogProcessor", window_size=log_interval, by_epoch=True
)
visualizer = dict(type="DetLocalVisualizer", name="visualizer")
