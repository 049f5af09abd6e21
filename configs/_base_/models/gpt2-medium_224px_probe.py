# A linear layer on GPT-2-medium with every block and the patch embedding frozen.
_base_ = "./gpt2-medium_224px.py"

label_smoothing = 0.0

model = dict(
    backbone=dict(trainable_layers="none"),
    # A few channels of a language model are enormous: without this, they would decide
    # how long the others need to be heard.
    neck=dict(type="ClsBatchNormNeck", input_features=_base_.width, affine=False),
    head=dict(loss=dict(_delete_=True, type="CrossEntropyLoss")),
)
