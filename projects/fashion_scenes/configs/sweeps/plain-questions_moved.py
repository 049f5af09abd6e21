# What a LangBridge projector is worth in another language model than its own, the
# small GPT-2: beside a new one behind the same encoder. Second stage and blind test.

leaf = "plain-questions.py"
stage2 = "../llava/langbridge-small-gpt2_language_stage2"

initialisations = {
    "moved": dict(config=f"{stage2}-transferred_{leaf}"),
    "new": dict(config=f"{stage2}-fresh_{leaf}"),
}
options = {
    "test_dataloader.dataset.shuffle_images": 0,  # seed of the exchange
    "test_evaluator.prefix": "shuffled",
}
variants = {"projector": {}}
seeds = [0, 1]
test = True
keep_checkpoints = True
