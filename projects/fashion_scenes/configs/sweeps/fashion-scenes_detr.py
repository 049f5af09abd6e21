# A small DETR on fashion scenes: do language blocks help where the ResNet starts from
# noise? Two pairs of twins; each pair has its own layers and differs in one key.

stock = "../detr/detr-r18-postnorm_minilm_language_1xb8-2k_fashion-scenes.py"
pre_norm = "../detr/detr-r18_small-gpt2_language_1xb8-2k_fashion-scenes.py"
scratch = dict(pretrained=False)

initialisations = {
    "MiniLM, stock layers": dict(config=stock),
    "scratch, stock layers": dict(config=stock, options=scratch),
    "small GPT-2, pre-norm layers": dict(config=pre_norm),
    "scratch, pre-norm layers": dict(config=pre_norm, options=scratch),
}
variants = {"scenes": {}}
seeds = [0, 1]
constant = True
keep_checkpoints = True  # of the last iteration, for tools/prediction_sheet.py
