# A small Segmenter on fashion scenes: the small GPT-2 in its mask decoder, or noise.

segmenter = "../segmenter/segmenter-r18_small-gpt2_language_1xb8-1k_fashion-scenes.py"

initialisations = {
    "small GPT-2": dict(config=segmenter),
    "scratch": dict(config=segmenter, options=dict(pretrained=False)),
}
variants = {"scenes": {}}
seeds = [0, 1]
tta = True
constant = True
keep_checkpoints = True  # of the last iteration, for tools/prediction_sheet.py
