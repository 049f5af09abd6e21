# A small DETR on fashion scenes: do language blocks help where the ResNet starts from
# noise? Two pairs of twins; each pair has its own layers and differs in one key.

stock = "../detr/detr-r18-postnorm_minilm"
pre_norm = "../detr/detr-r18_small-gpt2"
leaf = "1xb8-2k_fashion-scenes.py"

initialisations = {
    "MiniLM, stock layers": dict(config=f"{stock}_language_{leaf}"),
    "scratch, stock layers": dict(config=f"{stock}_scratch_{leaf}"),
    "small GPT-2, pre-norm layers": dict(config=f"{pre_norm}_language_{leaf}"),
    "scratch, pre-norm layers": dict(config=f"{pre_norm}_scratch_{leaf}"),
}
variants = {"scenes": {}}
seeds = [0, 1]
constant = True
keep_checkpoints = True  # of the last iteration, for tools/prediction_sheet.py
