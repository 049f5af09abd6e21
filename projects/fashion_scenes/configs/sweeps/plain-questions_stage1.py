# A LLaVA whose encoder is four blocks of SmolLM2: captions, between the label maps of
# plain-scenes_eye.py and the questions of plain-questions_stage2.py, which each go
# on with these checkpoints.

seen = "work_dirs/sweeps/plain-scenes_eye"
iters = 1200  # that the vision encoder saw label maps
leaf = "stage1_plain-questions.py"
weights = "model.vision_encoder.init_cfg.checkpoint"

initialisations = {
    "language": dict(config=f"../llava/llava-smollm2_language_{leaf}"),
    "scratch": dict(config=f"../llava/llava-smollm2_scratch_{leaf}"),
    "langbridge": dict(
        config=f"../llava/langbridge-smollm2_language_{leaf}",
        options={weights: f"{seen}/eye_language_s{{seed}}/iter_{iters}.pth"},
    ),
}
options = {weights: f"{seen}/eye_{{initialisation}}_s{{seed}}/iter_{iters}.pth"}
variants = {"llava": {}}
seeds = [0, 1]
keep_checkpoints = True
