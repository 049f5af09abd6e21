# Retrieval with the features of the bridge of random blocks on Tiny-ImageNet-200.
_base_ = "./gpt2-medium_language-bridged-retrieval_random100_400e_tiny-imagenet.py"

model = dict(backbone=dict(pretrained=False))
