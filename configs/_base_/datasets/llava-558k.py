# First stage of LLaVA: 558k captioned images of LAION, CC and SBU.

# often changed
data_root = "data/llava/LLaVA-Pretrain"
ann_file = "blip_laion_cc_sbu_558k.json"

# sometimes changed
batch_size = 32  # conversations a process; 8 processes
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
        data_prefix=dict(img_path="images"),
        on_bad="skip",  # counted in the log
    ),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
