# For tools/test.py: the same without language weights.
_base_ = "./minilm_language_correct+entropy_6e_fashion-mnist.py"

model = dict(classifier=dict(backbone=dict(pretrained=False)))
