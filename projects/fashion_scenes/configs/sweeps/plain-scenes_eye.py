# The encoders of plain-questions_stage1.py learn the scenes' label maps beforehand.

leaf = "1xb16-1200_plain-scenes.py"

initialisations = {
    "language": dict(config=f"../backbone/smollm2-b4_language_{leaf}"),
    "scratch": dict(config=f"../backbone/smollm2-b4_scratch_{leaf}"),
}
variants = {"eye": {}}
seeds = [0, 1]
keep_checkpoints = True
