# The same with a projector from scratch behind the same eye, to see what was moved.
_base_ = "./langbridge-small-gpt2_language_stage2-moved_plain-questions.py"

moved = "work_dirs/langbridge_small-gpt2.pth"

seen = dict(
    _delete_=True, type="Pretrained", checkpoint=moved, prefix="vision_encoder."
)
model = dict(vision_encoder=dict(init_cfg=seen))
load_from = None
