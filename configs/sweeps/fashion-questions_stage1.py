# A LLaVA whose eye is eight blocks of SmolLM2: captions, before the questions of
# fashion-questions_stage2.py, which goes on with these checkpoints.

leaf = "stage1_fashion-questions.py"

arms = {
    "language": dict(config=f"../llava/llava-smollm2_language_{leaf}"),
    "scratch": dict(config=f"../llava/llava-smollm2_scratch_{leaf}"),
    "langbridge": dict(config=f"../llava/langbridge-smollm2_language_{leaf}"),
}
variants = {"eye": {}}
seeds = [0, 1]
keep_checkpoints = True
