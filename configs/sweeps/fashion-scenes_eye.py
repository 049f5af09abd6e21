# The eyes of fashion-questions_stage1.py learn the scenes' label maps beforehand.

leaf = "1xb16-600_fashion-scenes.py"

arms = {
    "language": dict(config=f"../backbone/smollm2-b8_language_{leaf}"),
    "scratch": dict(config=f"../backbone/smollm2-b8_scratch_{leaf}"),
}
variants = {"eye": {}}
seeds = [0, 1]
keep_checkpoints = True
