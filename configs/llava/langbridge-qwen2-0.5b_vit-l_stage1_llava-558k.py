# Another vision encoder: mmpretrain's ViT-L/16, from scratch unless init_cfg names
# weights of it.
_base_ = "./langbridge-qwen2-0.5b_language_stage1_llava-558k.py"

encoder = dict(
    _delete_=True,
    type="mmpretrain.VisionTransformer",
    arch="l",
    img_size=_base_.img_size,
    patch_size=_base_.patch_size,
    out_type="featmap",
)
model = dict(vision_encoder=encoder)
