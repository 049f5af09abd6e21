# ScienceQA's test split, answered by letter; half of its questions have an image.

# often changed
test_data_root = "data/scienceqa"
test_batch_size = 16  # questions a process

test_dataloader = dict(
    batch_size=test_batch_size,
    num_workers=4,
    dataset=dict(
        type="lbbt_mm.VQADataset",
        format="scienceqa",
        split="test",
        data_root=test_data_root,
        ann_file="problems.json",  # pid_splits.json lies beside it
        data_prefix=dict(img_path="images/test"),
        test_mode=True,
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_evaluator = dict(type="lbbt_mm.ScienceQAMetric")
test_cfg = dict()
