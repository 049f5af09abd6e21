"""DETR in the order of a language model's blocks, on fused attention."""
