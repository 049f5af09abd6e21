# GQA's balanced test-dev split, by equal words.

# often changed
test_data_root = "data/gqa"
test_batch_size = 16  # questions a process

test_dataloader = dict(
    batch_size=test_batch_size,
    num_workers=4,
    dataset=dict(
        type="lbbt_mm.VQADataset",
        format="gqa",
        data_root=test_data_root,
        ann_file="testdev_balanced_questions.json",
        data_prefix=dict(img_path="images"),
        test_mode=True,
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_evaluator = dict(type="lbbt_mm.VQAMetric", rule="gqa")
test_cfg = dict()
