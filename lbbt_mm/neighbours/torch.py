"""torch, checked with 2.1 and with 2.12."""

PRIVATE = {
    "torch:_softmax_backward_data": "language/kernels.py",
    "torch._weights_only_unpickler:_get_allowed_globals": "language/storage.py",
    "torch.nn:MultiheadAttention._qkv_same_embed_dim": (
        "models/detection/fused_attention.py"
    ),
    "torch.nn:Module._apply": "models/backbone/standardize_neck.py",
    "torch.nn:Module._buffers": "models/backbone/late_architecture.py",
    "torch.nn:Module._load_from_state_dict": "language/model.py",
    "torch.nn:Module._register_load_state_dict_pre_hook": (
        "models/objectives/entropy_minimisation.py"
    ),
    # mmengine's get_state_dict calls these, and not a module's own `state_dict`.
    "torch.nn:Module._register_state_dict_hook": "models/multimodal/llava.py",
    "torch.utils._python_dispatch:_get_current_dispatch_mode_stack": (
        "language/flops.py"
    ),
}
"""As in :mod:`lbbt_mm.neighbours.mmengine`."""
