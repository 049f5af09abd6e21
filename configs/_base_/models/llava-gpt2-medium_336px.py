# LLaVA with GPT-2-medium as its vision encoder; a leaf names the language model that
# answers.

# often changed
pretrained = True  # the encoder's language weights; False: the same blocks from scratch

# sometimes changed
img_size = 336  # pixels of a tile
patch_size = 16  # pixels: 441 tokens a tile; LLaVA's CLIP has 14, so 576
grid_pinpoints = None  # one tile an image, LLaVA-1.5
on_long = "skip"  # LLaVA cuts a longer conversation off; here nothing is learned of it

encoder = dict(
    type="lbbt_mm.LanguageBackbone",
    language_model="gpt2-medium",
    img_size=img_size,
    patch_size=patch_size,
)
pipeline = [
    dict(type="lbbt_mm.ImageTiles", size=img_size, grid_pinpoints=grid_pinpoints),
    dict(type="lbbt_mm.PackConversation"),
]
# The vision encoder trains in both stages: it has never seen an image (the paper's
# decision).
model = dict(
    type="lbbt_mm.LLaVA",
    vision_encoder=dict(encoder, pretrained=pretrained, out_type="featmap"),
    projector=dict(type="lbbt_mm.MLPProjector", depth=2),
    train_encoder=True,
    train_projector=True,
    grid_pinpoints=grid_pinpoints,
    on_long=on_long,
    # CLIP's colours, as LLaVA's.
    data_preprocessor=dict(type="lbbt_mm.TilePreprocessor"),
)
