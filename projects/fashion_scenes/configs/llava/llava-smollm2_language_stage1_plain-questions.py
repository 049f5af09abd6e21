# First stage: the vision encoder and the projector learn from captions, by language
# weights.
_base_ = [
    "../_base_/models/llava-smollm2.py",
    "../_base_/datasets/plain-questions.py",
    "../_base_/schedules/llava_small.py",
    "../_base_/runtime/llava.py",
]

model = dict(
    data_preprocessor=_base_.data_preprocessor,
    chat_template="plain",
)
# A run of iterations draws without end, not once an epoch.
train_dataloader = dict(
    dataset=_base_.captions, sampler=dict(type="InfiniteSampler", shuffle=True)
)
default_hooks = dict(checkpoint=dict(interval=_base_.max_iters))
# There is nothing to answer yet.
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
