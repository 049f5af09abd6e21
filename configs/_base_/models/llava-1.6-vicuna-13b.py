# LLaVA-1.6 with Vicuna-13B.
_base_ = "./llava-1.6-mistral-7b.py"

language_model = "lmsys/vicuna-13b-v1.5"

model = dict(language_model=language_model, chat_template="vicuna_v1")
