# The encoders of plain-questions_stage1.py learn the scenes' label maps beforehand.

encoder = "../backbone/smollm2-b4_language_1xb16-1200_plain-scenes.py"

initialisations = {
    "language": dict(config=encoder),
    "scratch": dict(config=encoder, options=dict(pretrained=False)),
}
variants = {"eye": {}}
seeds = [0, 1]
keep_checkpoints = True
