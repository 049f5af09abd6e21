# The same with a projector from scratch behind the same vision encoder, to see what was
# transferred.
_base_ = "./langbridge-small-gpt2_language_stage2-transferred_plain-questions.py"

seen = dict(type="Pretrained", checkpoint=_base_.transferred, prefix="vision_encoder.")
model = dict(vision_encoder=dict(init_cfg=dict(seen, _delete_=True)))
load_from = None
