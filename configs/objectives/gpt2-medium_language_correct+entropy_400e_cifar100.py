# For tools/test.py: GPT-2-medium on CIFAR-100, minimising entropy on its test images.
_base_ = "../supervised/gpt2-medium_language_correct_400e_cifar100.py"

# often changed
steps = 1  # of Adam for each batch
entropy_lr = 1e-3
episodic = False  # True: each batch starts from the checkpoint again

model = dict(
    _delete_=True,
    type="lbbt_mm.EntropyMinimisation",
    classifier=_base_.model,
    steps=steps,
    lr=entropy_lr,
    episodic=episodic,
)
