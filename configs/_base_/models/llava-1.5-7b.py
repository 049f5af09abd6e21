# LLaVA-1.5: Vicuna-7B answers, an image is one tile.
_base_ = "./llava-gpt2-medium_336px.py"

language_model = "lmsys/vicuna-7b-v1.5"
max_length = 2048  # tokens of a conversation, as LLaVA-1.5
# LLaVA's, of the configs with "lora" in their names.
lora = dict(r=128, lora_alpha=256, lora_dropout=0.05, target_modules="all-linear")

model = dict(
    language_model=language_model, chat_template="vicuna_v1", max_length=max_length
)
