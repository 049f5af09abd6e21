"""mmcv 2.1, mmdet 3.3, mmpretrain 1.2, mmseg 1.2; forks 2.3.6, 3.5.1, 1.3.6, 1.4.2."""

PRIVATE = {
    "mmcv.cnn.bricks.transformer:MultiheadAttention.dropout_layer": (
        "models/detection/dropout_leak.py"
    ),
    "mmdet.models.layers:DetrTransformerDecoder._init_layers": (
        "models/detection/fused_detr.py"
    ),
    "mmdet.models.layers:DetrTransformerDecoderLayer._init_layers": (
        "models/detection/fused_detr.py"
    ),
    "mmdet.models.layers:DetrTransformerEncoder._init_layers": (
        "models/detection/fused_detr.py"
    ),
    "mmdet.models.layers:DetrTransformerEncoderLayer._init_layers": (
        "models/detection/fused_detr.py"
    ),
    "mmdet.models.detectors:DETR._init_layers": "models/detection/fused_detr.py",
    "mmseg.models.decode_heads:SegmenterMaskTransformerHead._transform_inputs": (
        "models/segmenter_head.py"
    ),
    "mmpretrain.datasets:KFoldDataset._ori_indices": "datasets/folds.py",
}
"""As in :mod:`lbbt_mm.neighbours.mmengine`."""
