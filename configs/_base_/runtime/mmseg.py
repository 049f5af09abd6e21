# As default.py, in the words of mmseg: all is counted in iterations.
_base_ = "./default.py"

# sometimes changed
log_interval = 50  # iterations
checkpoint_interval = 16_000  # iterations

default_scope = "mmseg"
default_hooks = dict(
    runtime_info=dict(interval=log_interval),
    logger=dict(interval=log_interval, log_metric_by_epoch=False),
    checkpoint=dict(interval=checkpoint_interval, by_epoch=False),
    visualization=dict(type="SegVisualizationHook"),
)
runtime_hooks = _base_.custom_hooks  # the leaf adds the one that copies blocks
log_processor = dict(
    _delete_=True, type="LogProcessor", window_size=log_interval, by_epoch=False
)
visualizer = dict(type="SegLocalVisualizer", name="visualizer")
tta_model = dict(type="SegTTAModel")  # of tools/test.py --tta
env_cfg = dict(cudnn_benchmark=True)  # all crops have one size
