# As detr-r50_gpt2.py, with the layers of the stock DETR: norms stand after attention
# and FFN, so a copied block computes something else than it did in GPT-2.
_base_ = "./detr-r50_gpt2.py"

# sometimes changed
accept = ["norm_order"]  # what is inexact about the copy; it is in the report

model = dict(
    # The stock DETR with fused attention: same parameters, same outputs.
    type="lbbt_mm.FusedDETR",
    encoder=dict(
        # mmdet's encoder of post-norm layers has no norm after the last.
        _delete_=True,
        num_layers=_base_.encoder_layers,
        layer_cfg=_base_.model.encoder.layer_cfg,
    ),
)
decoder_copy = _base_.language_init.copies[1]
language_init = dict(
    copies=[dict(module="encoder.layers", blocks=_base_.blocks), decoder_copy],
    accept=accept,
)
