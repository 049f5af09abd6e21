# What a LangBridge projector is worth in another language model than its own, the
# small GPT-2: beside a new one behind the same encoder. Second stage and blind test.

stage2 = "../llava/langbridge-small-gpt2_language_stage2-transferred_plain-questions.py"

initialisations = {
    "moved": dict(config=stage2),
    "new": dict(config=stage2, options=dict(transfer_projector=False)),
}
options = {
    "test_dataloader.dataset.shuffle_images": 0,  # seed of the exchange
    "test_evaluator.prefix": "shuffled",
}
variants = {"projector": {}}
seeds = [0, 1]
test = True
keep_checkpoints = True
