# Questions about the plain fashion scenes, as conversations; docs/vqa.md tells more.
# plain-scenes_segmentation.py says how the scenes are made; then
# make_questions.py --scenes data/plain_scenes --out data/plain_questions

# often changed
data_root = "data"
scenes = "plain_scenes/images"
captions_ann_file = "plain_questions/captions.json"  # 3 909 scenes: what is where
train_ann_file = "plain_questions/train_by_image.json"  # 10 046 questions, up to 3 each
questions_ann_file = "plain_questions/train.json"  # the same, one by one
val_ann_file = "plain_questions/val.json"  # 1 020 questions about other garments

# sometimes changed
tile_size = 100  # pixels; of scenes of 128x128; the encoder sees encoder_size
batch_size = 8  # conversations a process
num_workers = 1
val_batch_size = 64

# never changed
pixel_mean, pixel_std = [43.5] * 3, [81.3] * 3  # of 4 000 scenes, RGB

data_preprocessor = dict(
    type="lbbt_mm.TilePreprocessor", mean=pixel_mean, std=pixel_std
)
pipeline = [
    dict(type="lbbt_mm.ImageTiles", size=tile_size),
    dict(type="lbbt_mm.PackConversation"),
]
conversations = dict(
    type="lbbt_mm.ConversationDataset",
    data_root=data_root,
    data_prefix=dict(img_path=scenes),
    pipeline=pipeline,
)
captions = dict(conversations, ann_file=captions_ann_file)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    dataset=dict(conversations, ann_file=train_ann_file),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
questions = dict(
    type="lbbt_mm.VQADataset",
    format="llava",
    data_root=data_root,
    data_prefix=dict(img_path=scenes),
    pipeline=pipeline,
    test_mode=True,
)
# For tools/constant_baseline.py: every question by itself, with its type.
blind_train = dict(questions, ann_file=questions_ann_file, load_images=False)
val_dataloader = dict(
    batch_size=val_batch_size,
    num_workers=num_workers,
    dataset=dict(questions, ann_file=val_ann_file),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="lbbt_mm.VQAMetric", rule="exact")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
