# A LLaVA whose encoder is four blocks of SmolLM2 answers questions about the scenes.
# The test is the blind one: every question has another question's image.

stage1 = "work_dirs/sweeps/plain-questions_stage1"
iters = 200  # of the first stage
llava = "../llava/llava-smollm2_language_stage2_plain-questions.py"

initialisations = {
    "language": dict(config=llava),
    "scratch": dict(config=llava, options=dict(pretrained=False)),
    "langbridge": dict(config=llava, options=dict(langbridge=True)),
}
options = {
    "load_from": f"{stage1}/{{variant}}_{{initialisation}}_s{{seed}}/iter_{iters}.pth",
    "test_dataloader.dataset.shuffle_images": 0,  # seed of the exchange
    "test_evaluator.prefix": "shuffled",
}
variants = {"llava": {}}
seeds = [0, 1]
test = True
constant = True  # the commonest answer of each type
keep_checkpoints = True
