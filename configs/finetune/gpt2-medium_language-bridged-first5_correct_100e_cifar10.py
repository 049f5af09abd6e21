# Fine-tuning on CIFAR-10 after the bridge: the first 5 blocks train.
_base_ = "./gpt2-medium_language-bridged_correct_100e_cifar10.py"

model = dict(backbone=dict(trainable_layers="first:5"))
