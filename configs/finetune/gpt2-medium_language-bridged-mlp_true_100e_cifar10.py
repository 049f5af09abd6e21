# A small MLP on GPT-2-medium after the bridge, with every block and the patch embedding
# frozen: the paper's light adapter. It names no sizes; one hidden layer of the model's
# width.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/default.py",
]

# often changed
bridge_checkpoint = (
    "work_dirs/gpt2-medium_language_random100_400e_cifar10/epoch_400.pth"
)
trainable_layers = "none"
batch_size = 128  # the probe's
mid_channels = [1024]  # channels of the hidden layers

model = dict(
    backbone=dict(
        trainable_layers=trainable_layers,
        init_cfg=dict(
            type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone."
        ),
    ),
    neck=dict(type="lbbt_mm.StandardizeNeck", input_features=_base_.width),
    head=dict(
        _delete_=True,
        type="StackedLinearClsHead",
        num_classes=_base_.num_classes,
        in_channels=_base_.width,
        mid_channels=mid_channels,
        act_cfg=dict(type="GELU"),
        cal_acc=True,  # the running training accuracy in the log
        loss=_base_.model.head.loss,
    ),
)
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(pipeline=_base_.clean_pipeline)
)
