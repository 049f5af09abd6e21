# A LLaVA whose eye is eight blocks of SmolLM2: captions, between the label maps of
# fashion-scenes_eye.py and the questions of fashion-questions_stage2.py, which each go
# on with these checkpoints.

eyes = "work_dirs/sweeps/fashion-scenes_eye"
iters = 600  # that the eye saw label maps
leaf = "stage1_fashion-questions.py"
weights_of_eye = "model.vision_encoder.init_cfg.checkpoint"

arms = {
    "language": dict(config=f"../llava/llava-smollm2_language_{leaf}"),
    "scratch": dict(config=f"../llava/llava-smollm2_scratch_{leaf}"),
    "langbridge": dict(
        config=f"../llava/langbridge-smollm2_language_{leaf}",
        options={weights_of_eye: f"{eyes}/eye_language_s{{seed}}/iter_{iters}.pth"},
    ),
}
options = {weights_of_eye: f"{eyes}/eye_{{arm}}_s{{seed}}/iter_{iters}.pth"}
variants = {"llava": {}}
seeds = [0, 1]
keep_checkpoints = True
