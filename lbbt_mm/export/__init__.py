"""A bridged backbone for those who have no OpenMMLab: Hugging Face, timm, torch."""
