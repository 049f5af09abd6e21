# TextVQA's validation split, by the ten answers; without OCR tokens, which LLaVA adds.

# often changed
test_data_root = "data/textvqa"
test_batch_size = 16  # questions a process

test_dataloader = dict(
    batch_size=test_batch_size,
    num_workers=4,
    dataset=dict(
        type="lbbt_mm.VQADataset",
        format="textvqa",
        data_root=test_data_root,
        ann_file="TextVQA_0.5.1_val.json",
        data_prefix=dict(img_path="train_images"),
        test_mode=True,
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_evaluator = dict(type="lbbt_mm.VQAMetric", rule="ten_answers")
test_cfg = dict()
