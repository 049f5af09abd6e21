# LLaVA-1.6: Mistral-7B-Instruct answers in its own template; up to five tiles an image.
_base_ = "./llava-gpt2-medium_336px.py"

language_model = "mistralai/Mistral-7B-Instruct-v0.2"
max_length = 4096  # tokens of a conversation, as LLaVA-1.6

# never changed
# Heights and widths of LLaVA-NeXT's grids, pixels: twice to three times a tile.
grid_pinpoints = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)]

pipeline = [
    dict(
        type="lbbt_mm.ImageTiles",
        size=_base_.img_size,
        grid_pinpoints=grid_pinpoints,
    ),
    dict(type="lbbt_mm.PackConversation"),
]
model = dict(
    language_model=language_model,
    max_length=max_length,
    grid_pinpoints=grid_pinpoints,
)
