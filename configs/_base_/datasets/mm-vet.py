# MM-Vet: the answers go into a file that its judge, a language model, scores.

# often changed
test_data_root = "data/mm-vet"
test_batch_size = 4  # questions a process; the answers are long
out_file = "work_dirs/mm-vet.json"  # a leaf names its own

test_dataloader = dict(
    batch_size=test_batch_size,
    num_workers=4,
    dataset=dict(
        type="lbbt_mm.VQADataset",
        format="mmvet",
        data_root=test_data_root,
        ann_file="mm-vet.json",
        data_prefix=dict(img_path="images"),
        test_mode=True,
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_evaluator = dict(type="lbbt_mm.MMVetSubmission", out_file=out_file)
test_cfg = dict()
