# The same detector, its blocks drawn at random.
_base_ = "./faster-rcnn_smollm2-b4_language_1xb4-24e_bccd.py"

pretrained = False
model = dict(backbone=dict(pretrained=pretrained))
