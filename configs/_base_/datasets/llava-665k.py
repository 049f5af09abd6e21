# Second stage of LLaVA-1.5: its mixture of 665k conversations. The folder holds coco/,
# gqa/, ocr_vqa/, textvqa/ and vg/ as LLaVA's README lays them out.

# often changed
data_root = "data/llava/LLaVA-Instruct"
ann_file = "llava_v1_5_mix665k.json"

# sometimes changed
batch_size = 16  # conversations a process; 8 processes
num_workers = 4

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    drop_last=True,
    dataset=dict(
        type="lbbt_mm.ConversationDataset",
        data_root=data_root,
        ann_file=ann_file,
        data_prefix=dict(img_path=""),
        on_bad="skip",  # some of OCR-VQA's images are gone; counted in the log
    ),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
