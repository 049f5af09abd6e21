# For tools/test.py: MiniLM on Fashion-MNIST, minimising entropy on its test images.
_base_ = "../bridge/minilm_language_random100_6e_fashion-mnist.py"

# often changed
random_ratio = 0.0  # the model was trained on the true labels
steps = 1  # of Adam for each batch
entropy_lr = 1e-3
episodic = False  # True: each batch starts from the checkpoint again

true_labels = dict(ratio=random_ratio)
train_dataloader = dict(dataset=true_labels)
val_dataloader = dict(dataset=true_labels)
model = dict(
    _delete_=True,
    type="lbbt_mm.EntropyMinimisation",
    classifier=_base_.model,
    steps=steps,
    lr=entropy_lr,
    episodic=episodic,
)
