# The plain fashion scenes for mmseg: as fashion-scenes_segmentation.py, but grey
# garments on black, which a small transformer learns to see in minutes.
# projects/fashion_scenes/make_scenes.py --plain --max-garments 4 --scale 0.35 0.6
#   --min-visible 0.7 --out data/plain_scenes
_base_ = "./fashion-scenes_segmentation.py"

# often changed
data_root = "data/plain_scenes"

# never changed
pixel_mean, pixel_std = [43.5] * 3, [81.3] * 3  # of 4 000 scenes, RGB

data_preprocessor = dict(mean=pixel_mean, std=pixel_std)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
