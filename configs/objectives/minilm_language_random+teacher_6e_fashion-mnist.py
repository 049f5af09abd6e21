# MiniLM starts again on Fashion-MNIST, with random labels and its bridge as teacher.
_base_ = "./minilm_language_random_6e_fashion-mnist.py"

# often changed
teacher = "work_dirs/minilm_language_random_6e_fashion-mnist/epoch_6.pth"

# sometimes changed
teacher_weight = 1.0
distance = "mse"  # between features; or 'cosine'

taught = dict(
    name="teacher",
    type="lbbt_mm.TeacherObjective",
    checkpoint=teacher,
    distance=distance,
    weight=teacher_weight,
)
objectives = [*_base_.objectives, taught]

model = dict(objectives=objectives)
