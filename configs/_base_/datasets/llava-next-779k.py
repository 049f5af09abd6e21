# Second stage of LLaVA-1.6. Its 760k conversations are public as lmms-lab's
# LLaVA-NeXT-Data, which counts 779 289: the JSON and the images of its "raw format".
_base_ = "./llava-665k.py"

# often changed
data_root = "data/llava/LLaVA-NeXT-Data"
ann_file = "llava_next_raw_format_processed.json"

train_dataloader = dict(dataset=dict(data_root=data_root, ann_file=ann_file))
