# The same segmenter, its blocks drawn at random.
_base_ = "./upernet_smollm2-b4_language_1xb4-48e_camvid.py"

pretrained = False
model = dict(backbone=dict(pretrained=pretrained))
