# MiniLM's bridge on Fashion-MNIST, with random labels and sure predictions.
_base_ = "./minilm_language_random_6e_fashion-mnist.py"

# often changed
entropy_weight = 0.1  # of the predictions' entropy, in nats

entropy = dict(
    name="entropy", type="lbbt_mm.EntropyObjective", of="random", weight=entropy_weight
)
objectives = [*_base_.objectives, entropy]

model = dict(objectives=objectives)
