# A LLaVA whose encoder is four blocks of SmolLM2: captions, between the label maps of
# plain-scenes_eye.py and the questions of plain-questions_stage2.py, which each go
# on with these checkpoints.

seen = "work_dirs/sweeps/plain-scenes_eye"
iters = 1200  # that the vision encoder saw label maps
llava = "../llava/llava-smollm2_language_stage1_plain-questions.py"
weights = "model.vision_encoder.init_cfg.checkpoint"

initialisations = {
    "language": dict(config=llava),
    "scratch": dict(config=llava, options=dict(pretrained=False)),
    "langbridge": dict(
        config=llava,
        options={
            "langbridge": True,
            weights: f"{seen}/eye_language_s{{seed}}/iter_{iters}.pth",
        },
    ),
}
options = {weights: f"{seen}/eye_{{initialisation}}_s{{seed}}/iter_{iters}.pth"}
variants = {"llava": {}}
seeds = [0, 1]
keep_checkpoints = True
