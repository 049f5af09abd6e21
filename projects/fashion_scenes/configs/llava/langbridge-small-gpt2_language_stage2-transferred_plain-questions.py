# The vision encoder and the LangBridge projector of SmolLM2, transferred to another
# language model: projects/small_gpt2/README.md makes it, and
# tools/transfer_projector.py transfers them.
_base_ = "./llava-smollm2_language_stage2_plain-questions.py"

# often changed
# False: a projector from scratch behind the same encoder, to see what it was worth.
transfer_projector = True
transferred = "work_dirs/langbridge_small-gpt2.pth"

# never changed
small_gpt2 = "work_dirs/small_gpt2"
words = 4313  # that both tokenisers have

encoder_alone = dict(
    type="Pretrained", checkpoint=transferred, prefix="vision_encoder.", _delete_=True
)
model = dict(
    language_model=small_gpt2,
    chat_template="plain",  # it has none of its own
    system=None,
    vision_encoder=dict(init_cfg=None if transfer_projector else encoder_alone),
    projector=dict(_base_.langbridge_projector, vocabulary_size=words, _delete_=True),
)
load_from = transferred if transfer_projector else None
