# Four sets of questions to test on; `test_set` chooses.

# often changed
test_set = "gqa"  # or 'scienceqa', 'textvqa', 'mm-vet'
test_data_root = f"data/{test_set}"

# sometimes changed
test_batch_size = 4 if test_set == "mm-vet" else 16  # questions a process
out_file = "work_dirs/mm-vet.json"  # of MM-Vet's answers; a leaf names its own

# never changed
sets = {
    # The balanced test-dev split, by equal words.
    "gqa": dict(
        format="gqa",
        ann_file="testdev_balanced_questions.json",
        data_prefix=dict(img_path="images"),
    ),
    # The test split, answered by letter; half of its questions have an image.
    "scienceqa": dict(
        format="scienceqa",
        split="test",
        ann_file="problems.json",  # pid_splits.json lies beside it
        data_prefix=dict(img_path="images/test"),
    ),
    # The validation split, by the ten answers; without OCR tokens, which LLaVA adds.
    "textvqa": dict(
        format="textvqa",
        ann_file="TextVQA_0.5.1_val.json",
        data_prefix=dict(img_path="train_images"),
    ),
    # The answers go into a file that its judge, a language model, scores.
    "mm-vet": dict(
        format="mmvet", ann_file="mm-vet.json", data_prefix=dict(img_path="images")
    ),
}
evaluators = {
    "gqa": dict(type="lbbt_mm.VQAMetric", rule="gqa"),
    "scienceqa": dict(type="lbbt_mm.ScienceQAMetric"),
    "textvqa": dict(type="lbbt_mm.VQAMetric", rule="ten_answers"),
    "mm-vet": dict(type="lbbt_mm.MMVetSubmission", out_file=out_file),
}
# MM-Vet's answers are long.
answers = dict(generation=dict(max_new_tokens=256)) if test_set == "mm-vet" else {}

test_dataloader = dict(
    batch_size=test_batch_size,
    num_workers=4,
    dataset=dict(
        type="lbbt_mm.VQADataset",
        data_root=test_data_root,
        test_mode=True,
        **sets[test_set],
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_evaluator = evaluators[test_set]
test_cfg = dict()
