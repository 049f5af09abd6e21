# The same with a projector from scratch behind the same eye, to see what was moved.
_base_ = "./langbridge-small-gpt2_language_stage2-moved_plain-questions.py"

seen = dict(type="Pretrained", checkpoint=_base_.moved, prefix="vision_encoder.")
model = dict(vision_encoder=dict(init_cfg=dict(seen, _delete_=True)))
load_from = None
