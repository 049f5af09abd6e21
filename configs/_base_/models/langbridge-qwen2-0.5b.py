# LangBridge over Qwen2-0.5B: an image in 19 200 words that other models know too.
# The vocabulary is chosen from all tokenisers; docs/reproduce.md has the lines.
# LangBridge's own vision encoder is CLIP ViT-L/14; here it is the paper's,
# GPT-2-medium.
_base_ = "./llava-gpt2-medium_336px.py"

language_model = "Qwen/Qwen2-0.5B-Instruct"
vocabulary = "data/llava/vocabulary_qwen2_llama3.json"  # entries shared by both
max_length = 2048  # tokens of a conversation

model = dict(
    language_model=language_model,
    projector=dict(
        _delete_=True, type="lbbt_mm.LangBridgeProjector", vocabulary=vocabulary
    ),
    max_length=max_length,
)
