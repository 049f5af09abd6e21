# As fsdp.py, for models that answer in words: a block of the language model is a unit.
_base_ = "./fsdp.py"

default_scope = "lbbt_mm"
default_hooks = dict(checkpoint=dict(interval=1))
log_processor = dict(custom_cfg=[])
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
strategy = dict(
    model_wrapper=dict(auto_wrap_policy="lbbt_mm.wrap_transformer_blocks"),
    activation_checkpointing=dict(check_fn="lbbt_mm.is_transformer_block"),
)
