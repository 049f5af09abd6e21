# Table 7's outside reference: a linear probe of a ViT-L that DINO trained, with another
# recipe and on far more images. The paper says ViT-L/16 and names no weights, and DINO
# published none of that size: these are DINOv2's ViT-L/14, as in the authors' code.
# For tools/linear_probe.py; nothing is trained.
_base_ = [
    "../_base_/models/dinov2-vit-l14.py",
    "../_base_/datasets/imagenet100.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/long.py",
]

model = dict(head=dict(num_classes=_base_.num_classes))
