# A small MLP on GPT-2-medium with every block and the patch embedding frozen: the
# paper's light adapter. It names no sizes; one hidden layer of the model's width.
_base_ = "./gpt2-medium_224px.py"

mid_channels = [1024]  # channels of the hidden layers

model = dict(
    backbone=dict(trainable_layers="none"),
    neck=dict(type="lbbt_mm.StandardizeNeck", input_features=_base_.width),
    head=dict(
        _delete_=True,
        type="StackedLinearClsHead",
        num_classes=10,
        in_channels=_base_.width,
        mid_channels=mid_channels,
        act_cfg=dict(type="GELU"),
        cal_acc=True,  # the running training accuracy in the log
        loss=_base_.model.head.loss,
    ),
)
