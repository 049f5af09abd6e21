# The same with LangBridge: an image in the language model's own words.
_base_ = "./llava-smollm2_language_stage1_plain-questions.py"

# Weights of either sign: in so few iterations softmax over 19 200 words does not learn.
temperature = 35.0  # then a visual token starts about as long as a word's embedding

langbridge = dict(
    type="lbbt_mm.LangBridgeProjector", weights="linear", temperature=temperature
)
model = dict(projector=dict(langbridge, _delete_=True))
