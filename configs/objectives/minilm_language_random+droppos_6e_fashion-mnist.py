# MiniLM's bridge on Fashion-MNIST, with random labels and positions that were dropped.
_base_ = "./minilm_language_random_6e_fashion-mnist.py"

# often changed
drop_ratio = 0.75  # of the visible patches, whose position is to be found
mask_ratio = 0.25  # of all 16 patches, which are left out

# sometimes changed
droppos_weight = 1.0

places = dict(
    name="droppos",
    type="lbbt_mm.DropPosObjective",
    drop_ratio=drop_ratio,
    mask_ratio=mask_ratio,
    weight=droppos_weight,
)
objectives = [*_base_.objectives, places]

model = dict(objectives=objectives)
