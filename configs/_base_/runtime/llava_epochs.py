# As long.py, for models that answer in words; one epoch is the whole run.
_base_ = "./long.py"

default_scope = "lbbt_mm"
default_hooks = dict(checkpoint=dict(interval=1))
log_processor = dict(custom_cfg=[])
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
