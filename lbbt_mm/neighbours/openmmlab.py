"""mmcv, mmdet and mmpretrain: 2.1, 3.3, 1.2, and the forks' 2.3.6, 3.5.1, 1.3.6."""

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
    "mmpretrain.datasets:KFoldDataset._ori_indices": "datasets/folds.py",
}
"""As in :mod:`lbbt_mm.neighbours.mmengine`."""
