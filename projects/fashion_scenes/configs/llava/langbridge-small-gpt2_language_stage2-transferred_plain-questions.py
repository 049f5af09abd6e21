# The vision encoder and the LangBridge projector of SmolLM2, transferred to another
# language model: projects/small_gpt2/README.md makes it, and
# tools/transfer_projector.py moves them.
_base_ = "./langbridge-smollm2_language_stage2_plain-questions.py"

small_gpt2 = "work_dirs/small_gpt2"
words = 4313  # that both tokenisers have
transferred = "work_dirs/langbridge_small-gpt2.pth"

model = dict(
    language_model=small_gpt2,
    chat_template="plain",  # it has none of its own
    system=None,
    projector=dict(vocabulary_size=words),
)
load_from = transferred
